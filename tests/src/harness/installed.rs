//! The guard as an administrator has it: installed into the cluster by Helm, from the chart in this repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use xtask::cluster::{Cluster, Node};
use xtask::images;

use super::kubectl::run;
use super::pod::finding;
use super::{Answer, Kubectl, NodeNetns, Pod, Running, eventually};
use crate::finding::Finding;

/// Longest run of helm, waiting included, on two busy cores.
const LIMIT: Duration = Duration::from_mins(8);
/// Longest that the parts of the guard may take to be ready.
const READY: Duration = Duration::from_mins(4);
/// The release's name, and the namespace of the guard.
pub const RELEASE: &str = "egress-guard";
/// How long what runs may go on in an upgrade, in seconds.
const DRAIN: u32 = 15;

/// A cluster with the guard in it, or to be installed into.
pub struct Installed {
    /// The cluster.
    pub cluster: Cluster,
    /// An administrator past the guard, in a namespace for agents.
    pub kubectl: Kubectl,
    /// The namespace for agents; of this run alone.
    pub namespace: String,
    values: PathBuf,
}

impl Installed {
    /// The cluster that `EGRESS_GUARD_CLUSTER` names, the guard's image on its nodes, a namespace for agents, and nothing installed yet.
    #[track_caller]
    pub fn prepare() -> Self {
        let name = std::env::var("EGRESS_GUARD_CLUSTER")
            .unwrap_or_else(|_| panic!("EGRESS_GUARD_CLUSTER is not set: `cargo xtask e2e` runs these tests"));
        let cluster = Cluster::load(&name).expect("the cluster's description");
        for node in &cluster.nodes {
            images::provide(&cluster, node, images::GUARD).expect("the guard's image on each node");
        }
        let namespace = format!("agents-{}", std::process::id());
        let kubectl = Kubectl::new(&cluster, &namespace);
        kubectl.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
        let values = cluster.dir.join("values.json");
        fs::write(&values, self::values(&cluster).to_string()).expect("writing the values");
        Self { cluster, kubectl, namespace, values }
    }

    /// The same with the guard installed, these values set, and the account `agent` in the agents' namespace, which may do what editors may.
    #[track_caller]
    pub fn with_agents(set: &[&str]) -> Self {
        let installed = Self::prepare();
        installed.kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent"}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "agent"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
                "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": installed.namespace}],
            },
        ]}));
        installed.install(set);
        installed
    }

    /// Waits until an agent's requests are answered.
    #[track_caller]
    pub fn served(&self, agent: &Pod) {
        eventually(&format!("requests of {} to be answered", agent.name), READY, || {
            let found = agent.probe("--limit 5000 connect --to 10.96.0.1:443 --speak as-pod");
            let answered = found.answer.as_ref().is_some_and(|answer| answer.contains(" 200 "));
            if answered { Ok(()) } else { Err(format!("{found:?}\n{}", self.said())) }
        });
    }

    /// Where the chart is.
    pub fn chart() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts/egress-guard")
    }

    /// `helm` as administrator, not started.
    pub fn helm_command<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let program = self.cluster.binaries.join("helm");
        let mut command = NodeNetns::new(&self.cluster.control_plane_netns).command(program);
        command
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .args(["--namespace", RELEASE])
            .args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        command
    }

    /// `helm` to its end.
    #[track_caller]
    pub fn helm<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Answer {
        Running::start(&mut self.helm_command(arguments)).wait(LIMIT)
    }

    /// `helm upgrade --install`, the values of this cluster and these; not waited for.
    #[track_caller]
    pub fn apply(&self, set: &[&str]) -> Answer {
        let chart = Self::chart().display().to_string();
        let values = self.values.display().to_string();
        let mut arguments = vec!["upgrade", "--install", RELEASE, &chart, "--create-namespace", "--values", &values];
        for value in set {
            arguments.extend(["--set", value]);
        }
        self.helm(arguments)
    }

    /// The same, and waits until all of the guard is ready.
    #[track_caller]
    pub fn install(&self, set: &[&str]) {
        self.apply(set).ok();
        self.ready();
    }

    /// Waits until each node's guard and control are those of the last change, and ready.
    #[track_caller]
    pub fn ready(&self) {
        let guard = Kubectl::new(&self.cluster, RELEASE);
        eventually("the guard to be ready", READY, || {
            let set = guard.get("daemonset", "egress-guard-node");
            let control = guard.get("deployment", "egress-guard-control");
            let nodes = self.cluster.nodes.len();
            let (set, control) = (&set, &control);
            let is_current =
                |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let set_is_ready = is_current(set)
                && set["status"]["numberReady"] == nodes
                && set["status"]["updatedNumberScheduled"] == nodes
                && set["status"]["currentNumberScheduled"] == nodes;
            let control_is_ready = is_current(control)
                && control["status"]["updatedReplicas"] == control["spec"]["replicas"]
                && control["status"]["readyReplicas"] == control["spec"]["replicas"];
            if set_is_ready && control_is_ready { Ok(()) } else { Err(self.said()) }
        });
    }

    /// The newest pod of a node's guard that runs.
    #[track_caller]
    pub fn guard_on(&self, node: &Node) -> String {
        let selector = "app.kubernetes.io/component=node";
        let field = format!("spec.nodeName={}", node.name);
        let text = Kubectl::new(&self.cluster, RELEASE)
            .run(["get", "pods", "--selector", selector, "--field-selector", &field, "-o", "json"])
            .ok();
        let list: Value = serde_json::from_str(&text).expect("kubectl's JSON");
        let mut pods: Vec<(String, String)> = list["items"]
            .as_array()
            .expect("a list of pods")
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .filter_map(|pod| {
                let text = |name: &str| pod["metadata"][name].as_str().map(str::to_owned);
                Some((text("creationTimestamp")?, text("name")?))
            })
            .collect();
        pods.sort();
        pods.pop().unwrap_or_else(|| panic!("no guard runs on {}", node.name)).1
    }

    /// Runs the guard's program in the pod of a node's guard.
    #[track_caller]
    pub fn on(&self, node: &Node, arguments: &[&str]) -> Answer {
        let pod = self.guard_on(node);
        let mut all = vec!["exec", &pod, "--container=guard", "--", "/usr/local/bin/guard"];
        all.extend(arguments);
        Kubectl::new(&self.cluster, RELEASE).run(all)
    }

    /// Runs the guard's program as on an administrator's workstation.
    #[track_caller]
    pub fn guard_command(&self, arguments: &[&str]) -> Answer {
        let mut command = NodeNetns::new(&self.cluster.control_plane_netns).command(built("guard"));
        command.env("KUBECONFIG", &self.cluster.kubeconfig).args(arguments);
        run(command, "")
    }

    /// SHA-256 of the API server's certificate.
    #[track_caller]
    pub fn api_server_certificate(&self) -> String {
        let control_plane = NodeNetns::new(&self.cluster.control_plane_netns);
        let found = self.probe_in(&control_plane, "connect --to 127.0.0.1:6443");
        found.peer_certificate_sha256.expect("the API server speaks TLS")
    }

    /// The probe in a namespace, run by the machine: outside every pod's cgroup.
    #[track_caller]
    pub fn probe_in(&self, netns: &NodeNetns, arguments: &str) -> Finding {
        let mut command = netns.command(built("probe"));
        command.args(arguments.split_whitespace());
        finding(&run(command, "").ok())
    }

    /// A namespace of agents by its own label, if a test makes it.
    pub fn labelled_namespace(&self) -> String {
        format!("{}-labelled", self.namespace)
    }

    /// What the pods of the guard say, for failures.
    pub fn said(&self) -> String {
        let guard = Kubectl::new(&self.cluster, RELEASE);
        let pods = guard.run(["get", "pods", "-o", "wide"]);
        let events = guard.run(["get", "events", "-o", "custom-columns=O:.involvedObject.name,R:.reason,M:.message"]);
        let logs = ["node", "control"].map(|component| {
            let selector = format!("--selector=app.kubernetes.io/component={component}");
            guard.run(["logs", &selector, "--tail=6", "--prefix"]).out_and_err()
        });
        format!("{}\n{}\n{}", pods.out_and_err(), xtask::run::tail(&events.out_and_err(), 12), logs.concat())
    }
}

/// A program of this workspace.
fn built(name: &str) -> PathBuf {
    let guard = std::env::var("EGRESS_GUARD_BINARY")
        .unwrap_or_else(|_| panic!("EGRESS_GUARD_BINARY is not set: `cargo xtask e2e` runs these tests"));
    PathBuf::from(guard).with_file_name(name)
}

/// Two nodes share this machine's file systems, so what is of a node has its name in it.
fn values(cluster: &Cluster) -> Value {
    let (repository, tag) = images::GUARD.split_once(':').expect("an image has a tag");
    let node = &cluster.nodes[0];
    let for_all = |path: &Path| path.display().to_string().replace(&node.name, "$(NODE_NAME)");
    let below = |folder: &Path| for_all(&folder.join(&node.name));
    let kubelet = node.kubelet_root.strip_prefix(&cluster.dir).expect("the kubelet's folder lies in the cluster's");
    json!({
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "node": {
            "kubeletRoot": format!("{}/{}", cluster.dir.display(), for_all(kubelet)),
            "pinDirectory": below(&cluster.bpf_pin_prefix),
            "stateDirectory": below(&cluster.dir.join("state")),
            "cgroupRoot": for_all(Path::new(&node.cgroup_root)),
            "drainFor": DRAIN,
            // The endpoint of IPv6 is in a Service that is not called `kubernetes`.
            "controlPlane": {
                "aliases": ["[fd00:30::10]:6443", "[fd00:10:96::1]:443"],
                "localPorts": [{"protocol": "TCP", "port": 6443}],
            },
        },
    })
}

/// All that is in a cluster and on its nodes, as far as the guard could have put it there.
#[derive(Debug, PartialEq, Eq)]
pub struct Traces(BTreeMap<String, Vec<String>>);

impl Traces {
    /// Of now.
    #[track_caller]
    pub fn of(installed: &Installed) -> Self {
        let mut traces = BTreeMap::new();
        let cluster = &installed.cluster;
        let kinds =
            cluster.kubectl_output(["api-resources", "--verbs=list", "-o", "name"]).expect("the cluster's kinds");
        // What comes and goes by itself, or with the pods of this test.
        let passing = ["events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses"];
        let kinds: Vec<&str> = kinds.lines().filter(|kind| !passing.contains(kind)).collect();
        let objects = cluster
            .kubectl_output([
                "get",
                &kinds.join(","),
                "--all-namespaces",
                "--ignore-not-found",
                "-o",
                "custom-columns=A:.kind,B:.metadata.namespace,C:.metadata.name",
                "--no-headers",
            ])
            .expect("the cluster's objects");
        let of_agents = |line: &&str| line.split_whitespace().nth(1) == Some(&installed.namespace);
        traces.insert("objects".to_owned(), sorted(objects.lines().filter(|line| !of_agents(line))));
        for node in &cluster.nodes {
            let tables = NodeNetns::new(&node.netns).sh("nft list tables");
            traces.insert(format!("nft tables of {}", node.name), sorted(tables.lines()));
            let filters = NodeNetns::new(&node.netns).sh("for i in $(ls /proc/sys/net/ipv4/conf); do tc qdisc show dev $i 2>/dev/null; done | grep clsact || true");
            traces.insert(format!("clsact of {}", node.name), sorted(filters.lines()));
            let state = entries(&cluster.dir.join("state").join(&node.name));
            traces.insert(format!("state of {}", node.name), state);
            traces.insert(format!("pins of {}", node.name), entries(&cluster.bpf_pin_prefix.join(&node.name)));
        }
        Self(traces)
    }

    /// What is here and not there, a line each.
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let new = |(place, lines): (&String, &Vec<String>)| {
            let before = other.0.get(place);
            let lines = lines.iter().filter(move |line| !before.is_some_and(|before| before.contains(line)));
            lines.map(|line| format!("{place}: {line}")).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(new).collect()
    }
}

fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<String> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    lines
}

fn entries(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    sorted(names.iter().map(String::as_str))
}

/// `helm template` of the chart with these values, as objects, for a cluster that has all that admission stands on.
#[track_caller]
pub fn rendered(cluster: &Cluster, set: &[&str]) -> Vec<Value> {
    let mut command = Command::new(cluster.binaries.join("helm"));
    let chart = Installed::chart().display().to_string();
    command.args(["template", RELEASE, &chart, "--namespace", RELEASE]);
    let admission = "admissionregistration.k8s.io/v1";
    for kind in ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"] {
        command.args(["--api-versions", &format!("{admission}/{kind}")]);
    }
    command.args(["--api-versions", "certificates.k8s.io/v1/ClusterTrustBundle"]);
    for value in set {
        command.args(["--set", value]);
    }
    let text = run(command, "").ok();
    let documents = text.split("\n---").filter(|document| document.lines().any(|line| line.starts_with("kind:")));
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}\n{document}")))
        .collect()
}
