//! A real Kubernetes cluster on this machine: control plane and nodes, each in a network namespace of its own.
//!
//! [`Cluster`] is what tests and the demo hold: it is written to `cluster.json` by `cluster up` and read by [`Cluster::load`].

mod cleanup;
mod containerd;
mod control_plane;
mod feature;
mod kubeconfig;
mod network;
mod node;
mod objects;
mod owner;
mod pki;
mod programs;
mod starter;
mod status;
mod up;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub(crate) use cleanup::END;
pub use feature::Feature;
pub use owner::{disown, own, sweep};
pub use programs::{Ended, PoweredOff, Program};
pub use status::{Part, names, status};
pub use up::{UpOptions, up};

use crate::lock;
use crate::netns;
use crate::paths::Paths;
use crate::run;

/// The name of a cluster: it becomes part of namespaces, cgroups and socket paths, so it is short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Accepts 1 to 14 of `a-z`, `0-9` and `-`, starting with a letter: a shim's socket folder may have 38 characters (containerd's limit).
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let letters = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !(1..=14).contains(&text.len()) || !letters || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            bail!("cluster name {text:?}: 1 to 14 of a-z, 0-9 and -, starting with a letter");
        }
        Ok(Self(text))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The cgroup that holds all of the cluster, relative to a hierarchy's mount.
    fn cgroup(&self) -> String {
        format!("egress-guard-{}", self.0)
    }

    /// The namespace of one machine of the cluster: `cp`, `n1`, …
    fn netns(&self, machine: &str) -> String {
        format!("egress-{}-{machine}", self.0)
    }

    /// Sockets, container state and CNI namespaces: on `/run`, under a short path.
    fn run_dir(&self) -> PathBuf {
        Path::new("/run/egress-guard").join(&self.0)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl std::str::FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

/// A cluster that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// What it is called.
    pub name: Name,
    /// Its state: logs, keys, kubeconfigs.
    pub dir: PathBuf,
    /// Where kubectl and the servers are.
    pub binaries: PathBuf,
    /// How the API server is reached.
    pub api_server: ApiServer,
    /// The audit log, one JSON event per line, written before the response ends.
    pub audit_log: PathBuf,
    /// The administrator's kubeconfig (group `system:masters`).
    pub kubeconfig: PathBuf,
    /// The namespace of API server, etcd, controller-manager and scheduler.
    pub control_plane_netns: PathBuf,
    /// The namespace of a second API server, with its endpoint.
    pub second_api_server: Option<(PathBuf, SocketAddr)>,
    /// The nodes, in order.
    pub nodes: Vec<Node>,
    /// Service networks, IPv4 first.
    pub service_cidrs: Vec<String>,
    /// Pod networks of all nodes together, IPv4 first.
    pub pod_cidrs: Vec<String>,
    /// The cluster's folder in cgroup2.
    pub cgroup: PathBuf,
    /// The bpffs folders that belong to this cluster begin with this: `down` removes them.
    pub bpf_pin_prefix: PathBuf,
}

/// How the API server is reached, from any namespace of the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiServer {
    /// `https://` and the IPv4 endpoint.
    pub url: String,
    /// The endpoints: IPv4 (the `kubernetes` `EndpointSlice` has this one), then IPv6.
    pub endpoints: Vec<SocketAddr>,
    /// ClusterIP of the Service `kubernetes`, then of `kubernetes-ipv6`; port 443.
    pub cluster_ips: Vec<IpAddr>,
    /// The CA that its certificate is checked with.
    pub ca: PathBuf,
    /// etcd's client endpoint on the fabric: TLS, client certificates only.
    pub etcd: SocketAddr,
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its name as Kubernetes knows it: `n1`, `n2`, …
    pub name: String,
    /// Its network namespace: what is the host namespace on an ordinary node.
    pub netns: PathBuf,
    /// Its addresses: IPv4, then IPv6.
    pub addresses: Vec<IpAddr>,
    /// The networks of its pods, IPv4 first.
    pub pod_cidrs: Vec<String>,
    /// The kubelet's root directory.
    pub kubelet_root: PathBuf,
    /// The kubelet's own kubeconfig (`system:node:NAME`).
    pub kubeconfig: PathBuf,
    /// containerd's socket.
    pub containerd_socket: PathBuf,
    /// The kubelet's `cgroupRoot`, relative to a hierarchy's mount, with a leading slash.
    pub cgroup_root: String,
    /// The same in cgroup2: `kubepods` lies in it.
    pub cgroup2: PathBuf,
    /// A cgroup2 folder for what a test starts on this node: `down` ends all that is in it.
    pub daemons_cgroup: PathBuf,
    /// Its programs' logs.
    pub logs: PathBuf,
    /// What the containers wrote: the kubelet's `podLogsDir`.
    pub pod_logs: PathBuf,
}

/// Ends the cluster and removes its state. What is not there is no error; one that is being brought up is waited for.
pub fn down(paths: &Paths, name: &Name) -> Result<()> {
    let _lock = hold(paths, name)?;
    cleanup::down(paths, name)
}

/// One at a time brings this cluster up or down.
fn hold(paths: &Paths, name: &Name) -> Result<fs::File> {
    lock::hold(&paths.clusters().join(format!("{name}.lock")), "`cluster up` or `down` of the same name")
}

impl Cluster {
    /// Reads what `cluster up` wrote.
    pub fn load(name: &str) -> Result<Self> {
        let name = Name::new(name)?;
        Self::load_from(&Paths::find()?, &name)
    }

    pub(crate) fn load_from(paths: &Paths, name: &Name) -> Result<Self> {
        let file = Self::dir_of(paths, name).join("cluster.json");
        let text = fs::read_to_string(&file)
            .with_context(|| format!("reading {}: `cargo xtask cluster up --name {name}` makes it", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
    }

    fn dir_of(paths: &Paths, name: &Name) -> PathBuf {
        paths.clusters().join(name.as_str())
    }

    fn save(&self) -> Result<()> {
        let file = self.dir.join("cluster.json");
        let text = serde_json::to_string_pretty(self).context("writing the cluster's description")?;
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    }

    /// The cluster's own kubectl as administrator, in the control plane's namespace.
    pub fn kubectl<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = netns::command_in(&self.control_plane_netns, self.binaries.join("kubectl"));
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments);
        command
    }

    /// Runs kubectl and returns what it printed; an error holds what it said.
    pub fn kubectl_output<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        run::capture(&mut self.kubectl(arguments))
    }

    /// `kubectl apply -f -` of this YAML or JSON.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        run::capture_with_input(&mut self.kubectl(["apply", "--request-timeout=60s", "-f", "-"]), manifest)
    }

    /// A node by its position, from 0.
    pub fn node(&self, index: usize) -> Result<&Node> {
        self.nodes.get(index).with_context(|| {
            format!(
                "cluster {} has {} nodes: `cluster up --nodes {}` makes more",
                self.name,
                self.nodes.len(),
                index + 1
            )
        })
    }
}

impl Node {
    /// A command in the node's host namespace, as a daemon with hostNetwork would run, and in a cgroup that `down` empties.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                r#"echo $$ > "$1/cgroup.procs" && netns=$2 && shift 2 && exec nsenter --net="$netns" -- "$@""#,
                "sh",
            ])
            .arg(&self.daemons_cgroup)
            .arg(&self.netns)
            .arg(program);
        command
    }

    /// containerd's client on this node, in Kubernetes' namespace.
    pub fn ctr<S: AsRef<std::ffi::OsStr>>(&self, binaries: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binaries.join("ctr"));
        command.arg("--address").arg(&self.containerd_socket).args(["--namespace", "k8s.io"]).args(arguments);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_not_fit_a_path_is_refused() {
        for good in ["a", "default", "e2e-main-7f3a"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "1a", "Upper", "a/b", "..", "a.b", "fifteen-letters"] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_socket_folder_of_the_longest_name_fits_containerds_limit() {
        let name = Name::new("abcdefghijklmn").unwrap();
        assert!(name.run_dir().join("n99").as_os_str().len() <= 38);
    }
}
