//! Two replicas of control and a guard on each node, with the rights that the chart gives them and no others.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use guard_e2e::harness::{Agent, Certificate, Guard, GuardFiles, Kubectl, NodeNetns, Pod, PodPlan, SOON, eventually};
use serde_json::{Value, json};
use xtask::cluster::Cluster;
use xtask::paths::Paths;

pub(crate) const NAMESPACE: &str = "egress-guard";

/// In seconds. Short, so that a test sees many of them; long enough for a machine that is busy.
pub(crate) const LEAF: u64 = 60;
const OVERLAP: u64 = 10;
const AUTHORITY: u64 = 3600;

pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    pub(crate) kubectl: Kubectl,
    pub(crate) guards: Vec<Guard>,
    pub(crate) controls: [Control; 2],
    /// What the first node's guard said before there was any control.
    pub(crate) before: String,
    /// What the event of an agent pod said before there was any control.
    pub(crate) event_before: String,
    /// That pod.
    pub(crate) first_agent: Pod,
    pub(crate) folder: PathBuf,
    /// A guard of the second node that judges pods by the rules of admission, instead of the one that is there.
    pub(crate) judging: Guard,
    turn: Mutex<()>,
}

/// One replica. Dropped, it is killed.
pub(crate) struct Control {
    pub(crate) name: &'static str,
    /// Of its metrics; of its webhook the next.
    pub(crate) port: u16,
    binary: PathBuf,
    netns: NodeNetns,
    folder: PathBuf,
    process: Mutex<Option<Child>>,
}

impl Bed {
    #[track_caller]
    pub(crate) fn set_up() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `cargo xtask e2e` runs these tests"))
        };
        let cluster = Cluster::load(&variable("EGRESS_GUARD_CLUSTER")).expect("the cluster's description");
        let binary = PathBuf::from(variable("EGRESS_GUARD_BINARY"));
        let kubectl = Kubectl::new(&cluster, NAMESPACE);
        let folder = cluster.dir.join("control");
        fs::create_dir_all(&folder).expect("a folder in the cluster's");
        install(&cluster, &kubectl);
        let stand_ins: Vec<Pod> = (0..cluster.nodes.len()).map(|node| stand_in(&cluster, &kubectl, node)).collect();

        let files: Vec<GuardFiles> = cluster
            .nodes
            .iter()
            .zip(&stand_ins)
            .map(|(node, pod)| GuardFiles {
                kubeconfig: kubeconfig(&cluster, &folder, &node.name, &token_of(&kubectl, pod)),
                deny_list: write(&folder, "deny.yaml", DENY_LIST),
                certificate: Certificate::Asked(folder.join(format!("certificates-{}", node.name))),
                config: write(&folder, "config.yaml", "controlPlane: {names: [api.example.com]}\n"),
                admission: None,
            })
            .collect();
        let guards: Vec<Guard> =
            cluster.nodes.iter().zip(&files).map(|(node, files)| Guard::new(&cluster, node, &binary, files)).collect();
        let admission = Some(write(&folder, "admission.yaml", ADMISSION));
        let judging = Guard::new(&cluster, &cluster.nodes[1], &binary, &GuardFiles { admission, ..files[1].clone() });
        // They live as long as the tokens that are bound to them.
        stand_ins.into_iter().for_each(std::mem::forget);
        guards.iter().for_each(Guard::spawn);
        let before = eventually("what a guard without a certificate says", SOON, || {
            guards[0].readiness().and_then(|said| if said.contains("certificate") { Ok(said) } else { Err(said) })
        });
        // Its ConfigMap is control's to write; without it, the pod would wait for that instead.
        kubectl.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "egress-guard-ca"}, "data": {"ca.crt": ""}}));
        let plan = PodPlan::agent("first", Agent("ci-bot"));
        kubectl.apply(&plan.object(&cluster.nodes));
        let event_before = eventually("an event of a pod without a way", SOON, || {
            let events = events(&kubectl, "first", "AgentNotGuarded");
            if events.contains("certificate") { Ok(events) } else { Err(events) }
        });
        let controls = ["one", "two"].map(|name| Control::new(&cluster, &binary, &folder, name));
        token(&kubectl, &cluster, &folder);
        controls.iter().for_each(Control::start);
        guards.iter().for_each(Guard::wait_until_ready);
        let [first_agent] = Pod::create_all(&kubectl, &cluster.nodes, &[plan]).try_into().expect("one pod of one plan");
        Self {
            cluster,
            kubectl,
            guards,
            controls,
            before,
            event_before,
            first_agent,
            folder,
            judging,
            turn: Mutex::default(),
        }
    }

    /// For tests that change what others look at.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[track_caller]
    pub(crate) fn pod(&self, plan: PodPlan) -> Pod {
        let [pod] =
            Pod::create_all(&self.kubectl, &self.cluster.nodes, &[plan]).try_into().expect("one pod of one plan");
        pod
    }

    /// What is published now.
    #[track_caller]
    pub(crate) fn bundle(&self) -> String {
        let map = self.kubectl.get("configmap", "egress-guard-ca");
        map["data"]["ca.crt"].as_str().expect("control writes it").to_owned()
    }

    /// The replica that leads.
    #[track_caller]
    pub(crate) fn leader(&self) -> &Control {
        let holder = eventually("a leader", SOON, || {
            let lease = self.kubectl.get("lease", "egress-guard-control");
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
            if holder.is_empty() { Err("nobody holds the lease") } else { Ok(holder) }
        });
        self.controls.iter().find(|control| control.name == holder).expect("one of the two")
    }

    /// The events of a pod with this reason.
    #[track_caller]
    pub(crate) fn events(&self, pod: &str, reason: &str) -> String {
        events(&self.kubectl, pod, reason)
    }
}

impl Control {
    fn new(cluster: &Cluster, binary: &Path, folder: &Path, name: &'static str) -> Self {
        Self {
            name,
            port: if name == "one" { 19465 } else { 19475 },
            binary: binary.to_owned(),
            netns: NodeNetns::new(&cluster.control_plane_netns),
            folder: folder.to_owned(),
            process: Mutex::default(),
        }
    }

    #[track_caller]
    pub(crate) fn start(&self) {
        let file = self.folder.join(format!("control-{}.log", self.name));
        let log = OpenOptions::new().create(true).append(true).open(&file).expect("a log");
        let both = log.try_clone().expect("a log");
        let mut command: Command = self.netns.command(&self.binary);
        command.args(["--log-json", "control", "--identity", self.name, "--namespace", NAMESPACE]);
        command.arg("--kubeconfig").arg(self.folder.join("control.kubeconfig"));
        command.arg("--config").arg(self.folder.join("config.yaml"));
        command.arg("--admission").arg(self.folder.join("admission.yaml"));
        command.args(["--metrics-address", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--webhook-address", &format!("127.0.0.1:{}", self.port + 1)]);
        for (option, value) in [("--leaf-lifetime", LEAF), ("--overlap", OVERLAP), ("--authority-lifetime", AUTHORITY)]
        {
            command.args([option, &value.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stdout(both).stderr(log).spawn().expect("starting guard control");
        *self.process() = Some(child);
        eventually(&format!("control {} to be ready", self.name), SOON, || {
            let ended = self.process().as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "control ended: {ended:?}\n{}", self.log());
            let answer = self.ask("/readyz");
            if answer.contains("200 OK") { Ok(()) } else { Err(format!("{answer}\n{}", self.log())) }
        });
    }

    #[track_caller]
    pub(crate) fn kill(&self) {
        let mut process = self.process().take().expect("it runs");
        process.kill().and_then(|()| process.wait()).expect("killing control");
    }

    pub(crate) fn ask(&self, path: &str) -> String {
        self.netns.try_sh(&format!("curl -sSi --max-time 10 http://127.0.0.1:{}{path}", self.port)).out_and_err()
    }

    pub(crate) fn netns(&self) -> &NodeNetns {
        &self.netns
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join(format!("control-{}.log", self.name))).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(mut process) = self.process().take() {
            // It may have ended.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The CRDs, and of the chart what says who may do what.
#[track_caller]
fn install(cluster: &Cluster, kubectl: &Kubectl) {
    let root = Paths::find().expect("the checkout").root;
    let crds = root.join("deploy/crds");
    kubectl.run(["apply", "--server-side", "-f", &crds.to_string_lossy()]).ok();
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
    let mut helm = Command::new(cluster.binaries.join("helm"));
    helm.arg("template").arg("egress-guard").arg(root.join("deploy/charts/egress-guard"));
    helm.args(["--namespace", NAMESPACE, "--set", "admission.mode=webhook"]);
    for part in ["control/rbac", "control/serviceaccount", "node/rbac", "node/serviceaccount"] {
        helm.args(["--show-only", &format!("templates/{part}.yaml")]);
    }
    let rendered = helm.output().expect("running helm");
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    cluster.apply(&String::from_utf8_lossy(&rendered.stdout)).expect("the chart's accounts and rights");
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "control-agent"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": NAMESPACE}],
        },
        // Only to be told whom to trust: it sends nothing anywhere.
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "egress-guard"},
            "webhooks": [{
                "name": "pods.admission.egressguard.io", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
                "clientConfig": {"service": {"name": "egress-guard-control", "namespace": NAMESPACE}}, "rules": [],
            }],
        },
    ]}));
}

/// A pod of the node guard as far as the API server is concerned: the guard itself runs beside it.
#[track_caller]
fn stand_in(cluster: &Cluster, kubectl: &Kubectl, node: usize) -> Pod {
    let plan = PodPlan::ordinary(format!("guard-{}", cluster.nodes[node].name)).on(node).account("egress-guard-node");
    let [pod] = Pod::create_all(kubectl, &cluster.nodes, &[plan]).try_into().expect("one pod of one plan");
    pod
}

#[track_caller]
fn token_of(kubectl: &Kubectl, pod: &Pod) -> String {
    let bound = ["--bound-object-kind=Pod", "--bound-object-name", &pod.name, "--bound-object-uid", &pod.uid];
    let mut arguments = vec!["create", "token", "egress-guard-node", "--duration=24h"];
    arguments.extend(bound);
    kubectl.run(arguments).ok().trim().to_owned()
}

#[track_caller]
fn token(kubectl: &Kubectl, cluster: &Cluster, folder: &Path) {
    let token = kubectl.run(["create", "token", "egress-guard-control", "--duration=24h"]).ok();
    kubeconfig(cluster, folder, "control", token.trim());
}

#[track_caller]
pub(crate) fn kubeconfig(cluster: &Cluster, folder: &Path, name: &str, token: &str) -> PathBuf {
    let config: Value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "guard",
        "clusters": [{"name": "guard", "cluster": {"server": cluster.api_server.url, "certificate-authority": cluster.api_server.ca}}],
        "users": [{"name": "guard", "user": {"token": token}}],
        "contexts": [{"name": "guard", "context": {"cluster": "guard", "user": "guard", "namespace": NAMESPACE}}],
    });
    write(folder, &format!("{name}.kubeconfig"), &config.to_string())
}

#[track_caller]
fn events(kubectl: &Kubectl, pod: &str, reason: &str) -> String {
    let selector = format!("involvedObject.name={pod},reason={reason}");
    kubectl.run(["get", "events", "--field-selector", &selector, "-o", "jsonpath={.items[*].message}"]).out_and_err()
}

#[track_caller]
fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    File::create(&file).expect("a file in the cluster's folder");
    fs::write(&file, text).expect("a file in the cluster's folder");
    file
}

pub(crate) const WAIT: Duration = Duration::from_mins(4);

const DENY_LIST: &str = "
apiVersion: egressguard.io/v1alpha1
kind: GuardPolicy
metadata: {name: e2e}
spec:
  rules:
    - name: no-namespace-deletion
      match: {verbs: [delete, deletecollection], resources: [namespaces]}
      action: Deny
";

const ADMISSION: &str = "
gate: {image: 'egressguard.io/test/gate:1', repository: egressguard.io/test/gate, imagePullPolicy: Never, resources: {}}
trust: ClusterTrustBundle
guardNamespace: egress-guard
guardServiceAccounts: {node: egress-guard-node, control: egress-guard-control}
";
