//! Starts the parts of a cluster, writes each down, and waits until it is ready.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::containerd::Containerd;
use super::control_plane::ControlPlane;
use super::node::{self, Prepared};
use super::{Cluster, Feature, Node, network, objects};
use crate::images::{self, Archive};
use crate::lock;
use crate::mounts;
use crate::netns;
use crate::process::{Place, Recorded};
use crate::progress::Progress;
use crate::run;
use crate::wait::Wait;

/// No part of a cluster may take longer than this to be ready, on two very busy cores.
const LIMIT: Duration = Duration::from_mins(3);

/// Starts the parts and remembers them.
pub(super) struct Starter<'a> {
    cluster: &'a Cluster,
    archives: &'a [Archive],
    progress: &'a Progress,
    started: Mutex<Vec<Recorded>>,
}

impl<'a> Starter<'a> {
    pub(super) fn new(cluster: &'a Cluster, archives: &'a [Archive], progress: &'a Progress) -> Self {
        Self { cluster, archives, progress, started: Mutex::new(Vec::new()) }
    }

    pub(super) fn control_plane(&self, control_plane: &ControlPlane, without: &[Feature]) -> Result<()> {
        let cgroup = self.cluster.cgroup.join("cp-daemons");
        let logs = self.cluster.dir.join("logs");
        let place = Place { netns: &self.cluster.control_plane_netns, cgroup: &cgroup, logs: &logs };
        self.record(control_plane.start_etcd(&place)?)?;
        let server = self.record(control_plane.start_api_server(&place, without)?)?;
        self.wait("the API server", &server, || {
            Ok(self
                .cluster
                .kubectl_output(["get", "--raw=/readyz", "--request-timeout=10s"])
                .err()
                .map(|error| last_line(&error)))
        })?;
        if let Some((netns, endpoint)) = &self.cluster.second_api_server {
            let place = Place { netns, ..place };
            let second = self.record(control_plane.start_second_api_server(&place, without)?)?;
            let server = format!("--server=https://{endpoint}");
            self.wait("the second API server", &second, || {
                let ask = ["get", "--raw=/readyz", "--request-timeout=10s", &server];
                Ok(self.cluster.kubectl_output(ask).err().map(|error| last_line(&error)))
            })?;
        }
        self.record(control_plane.start_controller_manager(&place)?)?;
        self.record(control_plane.start_scheduler(&place)?)?;
        let objects = objects::api_server_over_ipv6().to_string();
        self.cluster.apply(&objects).context("making the IPv6 Service of the API server").map(drop)
    }

    /// Starts containerd and gives it the images, while the control plane starts.
    pub(super) fn containerd(&self, node: &Node) -> Result<()> {
        let dir = self.cluster.dir.join(&node.name);
        let state = node.containerd_socket.parent().context("a socket lies in a folder")?;
        let containerd = Containerd {
            root: dir.join("containerd"),
            state: state.to_owned(),
            config: dir,
            binaries: self.cluster.binaries.clone(),
            pod_cidrs: node.pod_cidrs.clone(),
        };
        debug_assert_eq!(containerd.socket(), node.containerd_socket);
        self.record(containerd.start(&node.name, &place(node))?)?;
        self.containerd_answers(node)?;
        // The pause image comes first: no pod starts without it.
        images::import_everywhere(self.cluster, node, self.archives)
    }

    pub(super) fn containerd_answers(&self, node: &Node) -> Result<()> {
        let process = self.find(&format!("{}/containerd", node.name))?;
        self.wait(&process.name, &process, || {
            let answer = run::capture(
                &mut node.ctr(&self.cluster.binaries, ["--connect-timeout", "5s", "--timeout", "20s", "version"]),
            );
            Ok(answer.err().map(|error| last_line(&error)))
        })
    }

    pub(super) fn node(&self, node: &Node, prepared: &Prepared) -> Result<()> {
        let place = place(node);
        self.record(prepared.start_proxy(node, &self.cluster.binaries, &place)?)?;
        // One kubelet of this machine at a time: each removes what it finds at the one place of this socket, and one that
        // finds it taken again right after ends.
        let _turn = lock::hold_folder(Path::new(mounts::OURS), "another cluster's kubelet starts")?;
        let kubelet = self.record(prepared.start_kubelet(node, &self.cluster.binaries, &place)?)?;
        self.wait(&kubelet.name, &kubelet, || {
            let listens = kubelet.listens_at(node::DEVICE_PLUGINS);
            Ok((!listens).then(|| format!("it does not listen at {} yet", node::DEVICE_PLUGINS)))
        })
    }

    /// Everything that a pod needs: nodes that are Ready, Services that work, the default `ServiceAccount`.
    pub(super) fn ready(&self) -> Result<()> {
        for (index, node) in self.cluster.nodes.iter().enumerate() {
            let kubelet = self.find(&format!("{}/kubelet", node.name))?;
            self.wait(&format!("node {}", node.name), &kubelet, || {
                let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status} {.status.conditions[?(@.type==\"Ready\")].message}";
                Ok(match self.cluster.kubectl_output(["get", "node", &node.name, "--request-timeout=10s", "-o", path]) {
                    Ok(state) if state.starts_with("True") => None,
                    Ok(state) => Some(format!("Ready: {state}")),
                    Err(error) => Some(last_line(&error)),
                })
            })?;
            // As a controller-manager would that hands out the ranges.
            let ranges = network::pod_cidrs(index);
            let ranges =
                format!(r#"{{"spec":{{"podCIDR":"{}","podCIDRs":["{}","{}"]}}}}"#, ranges[0], ranges[0], ranges[1]);
            self.cluster.kubectl_output(["patch", "node", &node.name, "--patch", &ranges])?;
            let proxy = self.find(&format!("{}/kube-proxy", node.name))?;
            self.wait(&proxy.name.clone(), &proxy, || proxy_is_healthy(&node.netns))?;
        }
        let manager = self.find("cp/kube-controller-manager")?;
        self.wait("the default ServiceAccount", &manager, || {
            let found = self.cluster.kubectl_output([
                "get",
                "serviceaccount/default",
                "configmap/kube-root-ca.crt",
                "--request-timeout=10s",
            ]);
            Ok(found.err().map(|error| last_line(&error)))
        })
    }

    /// Written down at once: if this run is killed now, the next one finds the process.
    fn record(&self, process: Recorded) -> Result<Recorded> {
        let mut started = self.started.lock().map_err(|_| anyhow!("another thread panicked"))?;
        started.push(process.clone());
        let file = self.cluster.dir.join("processes.json");
        let text = serde_json::to_vec(&*started).context("writing down the processes")?;
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(process)
    }

    fn find(&self, name: &str) -> Result<Recorded> {
        let started = self.started.lock().map_err(|_| anyhow!("another thread panicked"))?;
        started
            .iter()
            .find(|process| process.name == name)
            .cloned()
            .with_context(|| format!("{name} was never started"))
    }

    fn wait(&self, part: &str, process: &Recorded, mut ready: impl FnMut() -> Result<Option<String>>) -> Result<()> {
        let start = Instant::now();
        let wait = Wait { part, log: &process.log, limit: LIMIT };
        wait.until(|| {
            if !process.alive() {
                bail!("{part}: {} has ended{}", process.name, wait.log_tail());
            }
            ready()
        })?;
        self.progress.detail(&format!("{part}: {:.1} s", start.elapsed().as_secs_f32()));
        Ok(())
    }
}

fn place(node: &Node) -> Place<'_> {
    Place { netns: &node.netns, cgroup: &node.daemons_cgroup, logs: &node.logs }
}

/// kube-proxy answers 200 once its rules stand.
fn proxy_is_healthy(namespace: &Path) -> Result<Option<String>> {
    let namespace: PathBuf = namespace.to_owned();
    netns::run_in(&namespace, || {
        let ask = || -> std::io::Result<String> {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 10256));
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
            let mut start = [0; 12];
            stream.read_exact(&mut start)?;
            Ok(String::from_utf8_lossy(&start).into_owned())
        };
        Ok(match ask() {
            Ok(answer) if answer.ends_with("200") => None,
            Ok(answer) => Some(answer),
            Err(error) => Some(format!("/healthz on port 10256: {error}")),
        })
    })
}

fn last_line(error: &anyhow::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().to_owned()
}
