//! `cluster up`: the order in which the parts start, and what is waited for.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::unistd::Uid;

use super::containerd::Containerd;
use super::control_plane::ControlPlane;
use super::network::{self, CLUSTER_IPS, Namespaces, POD_CIDRS, SERVICE_CIDRS};
use super::node::{self, Folders, Prepared};
use super::{ApiServer, Cluster, Name, Node, cleanup, objects, status};
use crate::cgroup::Hierarchies;
use crate::golang;
use crate::images::{self, Archive};
use crate::lock;
use crate::mounts;
use crate::netns;
use crate::paths::Paths;
use crate::process::{Place, Recorded};
use crate::progress::Progress;
use crate::run;
use crate::sysctl;
use crate::wait::Wait;

/// No part of a cluster may take longer than this to be ready, on two busy cores.
const LIMIT: Duration = Duration::from_secs(90);

/// What cluster to bring up.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Its name.
    pub name: Name,
    /// How many nodes: 1 to 9.
    pub nodes: usize,
}

/// Brings the cluster up, or finds that it is. What a crashed run of the same name left is cleaned up first.
pub fn up(paths: &Paths, options: &UpOptions, progress: &Progress) -> Result<Cluster> {
    if !Uid::effective().is_root() {
        bail!("a cluster needs root: namespaces, mounts and cgroups");
    }
    if !(1..=network::MOST_NODES).contains(&options.nodes) {
        bail!("a cluster has 1 to {} nodes, not {}", network::MOST_NODES, options.nodes);
    }
    let _lock = super::hold(paths, &options.name)?;
    if let Some(cluster) = running(paths, options)? {
        progress.note(&format!("cluster {} is up already", options.name));
        return Ok(cluster);
    }
    cleanup::down(paths, &options.name)?;
    let binaries = golang::ensure(paths, progress)?;
    let archives = images::ensure(paths, &binaries, progress)?;
    let start = Instant::now();
    let cluster = start_all(paths, options, &binaries, &archives, progress).inspect_err(|_| {
        // The logs stay where the error says; all else goes. The first error is the one to tell.
        let _ = cleanup::stop(paths, &options.name);
    })?;
    progress.note(&format!("cluster {} is ready after {:.1} s", options.name, start.elapsed().as_secs_f32()));
    Ok(cluster)
}

fn running(paths: &Paths, options: &UpOptions) -> Result<Option<Cluster>> {
    let parts = status(paths, &options.name);
    if parts.is_empty() || parts.iter().any(|part| !part.alive) {
        return Ok(None);
    }
    let Ok(cluster) = Cluster::load_from(paths, &options.name) else { return Ok(None) };
    if cluster.nodes.len() != options.nodes {
        bail!("cluster {} is up with {} nodes: `cluster down` first", options.name, cluster.nodes.len());
    }
    Ok(Some(cluster))
}

fn start_all(
    paths: &Paths,
    options: &UpOptions,
    binaries: &Path,
    archives: &[Archive],
    progress: &Progress,
) -> Result<Cluster> {
    let dir = Cluster::dir_of(paths, &options.name);
    fs::create_dir_all(dir.join("logs")).with_context(|| format!("making {}", dir.display()))?;
    fs::create_dir_all(options.name.run_dir()).context("making the folder for sockets in /run/egress-guard")?;
    mounts::ensure_bpffs()?;
    sysctl::remember(Path::new(mounts::OURS))?;
    let control_plane = ControlPlane::prepare(&dir, binaries)?;
    let hierarchies = Hierarchies::find()?;
    let namespaces = network::create(&options.name, options.nodes)?;
    let cluster = describe(&options.name, &control_plane, namespaces, &hierarchies);
    let prepared = prepare_nodes(&cluster, &control_plane, &hierarchies)?;
    let starter = Starter { cluster: &cluster, archives, progress, started: Mutex::new(Vec::new()) };
    thread::scope(|scope| {
        let containerds: Vec<_> = cluster.nodes.iter().map(|node| scope.spawn(|| starter.containerd(node))).collect();
        starter.control_plane(&control_plane)?;
        for (node, prepared) in cluster.nodes.iter().zip(&prepared) {
            starter.containerd_answers(node)?;
            starter.node(node, prepared)?;
        }
        starter.ready()?;
        containerds
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("the thread of a node panicked"))?)
    })?;
    cluster.save()?;
    Ok(cluster)
}

fn describe(name: &Name, control_plane: &ControlPlane, namespaces: Namespaces, hierarchies: &Hierarchies) -> Cluster {
    let cgroup = name.cgroup();
    let cgroup2 = hierarchies.v2.join(&cgroup);
    let run = name.run_dir();
    let folders = Folders { dir: &control_plane.dir, run: &run, cgroup: &cgroup, cgroup2: &cgroup2 };
    let nodes =
        namespaces.nodes.into_iter().enumerate().map(|(index, path)| node::describe(index, path, &folders)).collect();
    let addresses = network::control_plane_addresses();
    Cluster {
        name: name.clone(),
        dir: control_plane.dir.clone(),
        binaries: control_plane.binaries.clone(),
        api_server: ApiServer {
            url: control_plane.url.clone(),
            endpoints: addresses.map(|address| SocketAddr::new(address, 6443)).to_vec(),
            cluster_ips: CLUSTER_IPS.to_vec(),
            ca: control_plane.ca.certificate(),
            etcd: SocketAddr::new(addresses[0], 2379),
        },
        audit_log: control_plane.audit_log.clone(),
        kubeconfig: control_plane.admin.clone(),
        control_plane_netns: namespaces.control_plane,
        nodes,
        service_cidrs: SERVICE_CIDRS.map(str::to_owned).to_vec(),
        pod_cidrs: POD_CIDRS.map(str::to_owned).to_vec(),
        bpf_pin_prefix: Path::new("/sys/fs/bpf").join(&cgroup),
        cgroup: cgroup2,
    }
}

fn prepare_nodes(cluster: &Cluster, control_plane: &ControlPlane, hierarchies: &Hierarchies) -> Result<Vec<Prepared>> {
    let cgroup = cluster.name.cgroup();
    hierarchies.create(&format!("{cgroup}/cp-daemons"))?;
    let prepare = |node: &Node| {
        let dir = cluster.dir.join(&node.name);
        fs::create_dir_all(&node.logs).with_context(|| format!("making {}", node.logs.display()))?;
        hierarchies.create(node.cgroup_root.trim_start_matches('/'))?;
        fs::create_dir_all(&node.daemons_cgroup)
            .with_context(|| format!("making {}", node.daemons_cgroup.display()))?;
        node::prepare(node, &dir, control_plane)
    };
    cluster.nodes.iter().map(prepare).collect()
}

/// Starts the parts and remembers them.
struct Starter<'a> {
    cluster: &'a Cluster,
    archives: &'a [Archive],
    progress: &'a Progress,
    started: Mutex<Vec<Recorded>>,
}

impl Starter<'_> {
    fn control_plane(&self, control_plane: &ControlPlane) -> Result<()> {
        let cgroup = self.cluster.cgroup.join("cp-daemons");
        let logs = self.cluster.dir.join("logs");
        let place = Place { netns: &self.cluster.control_plane_netns, cgroup: &cgroup, logs: &logs };
        self.record(control_plane.start_etcd(&place)?)?;
        let server = self.record(control_plane.start_api_server(&place)?)?;
        self.wait("the API server", &server, || {
            Ok(self
                .cluster
                .kubectl_output(["get", "--raw=/readyz", "--request-timeout=2s"])
                .err()
                .map(|error| last_line(&error)))
        })?;
        self.record(control_plane.start_controller_manager(&place)?)?;
        self.record(control_plane.start_scheduler(&place)?)?;
        let objects = objects::api_server_over_ipv6().to_string();
        self.cluster.apply(&objects).context("making the IPv6 Service of the API server").map(drop)
    }

    /// Starts containerd and gives it the images, while the control plane starts.
    fn containerd(&self, node: &Node) -> Result<()> {
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
        self.archives.iter().try_for_each(|archive| images::import(self.cluster, node, archive))
    }

    fn containerd_answers(&self, node: &Node) -> Result<()> {
        let process = self.find(&format!("{}/containerd", node.name))?;
        self.wait(&process.name, &process, || {
            let answer = run::capture(
                &mut node.ctr(&self.cluster.binaries, ["--connect-timeout", "2s", "--timeout", "5s", "version"]),
            );
            Ok(answer.err().map(|error| last_line(&error)))
        })
    }

    fn node(&self, node: &Node, prepared: &Prepared) -> Result<()> {
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
    fn ready(&self) -> Result<()> {
        for (index, node) in self.cluster.nodes.iter().enumerate() {
            let kubelet = self.find(&format!("{}/kubelet", node.name))?;
            self.wait(&format!("node {}", node.name), &kubelet, || {
                let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status} {.status.conditions[?(@.type==\"Ready\")].message}";
                Ok(match self.cluster.kubectl_output(["get", "node", &node.name, "--request-timeout=2s", "-o", path]) {
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
                "--request-timeout=2s",
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
