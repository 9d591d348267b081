//! The chart's admission part, installed by helm on the area's cluster, in one mode after the other: there is one guard in a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use guard_admission::{CA_CONFIG_MAP, CA_FILE, Place, Settings, TRUST_BUNDLE};
use guard_certificates::Authority;
use guard_e2e::harness::{Kubectl, NodeNetns, SOON, eventually, unique};
use serde_json::{Value, json};
use xtask::cluster::Cluster;
use xtask::images;

use crate::api::Api;
use crate::server::{self, Shared};

/// Where the guard is installed.
pub(crate) const GUARD: &str = "egress-guard";
const SERVICE: &str = "egress-guard-control";
/// ClusterIP of the webhook's Service: an address of the control plane's own namespace here, where no kube-proxy is.
const WEBHOOK: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 77));
const VALUES: &str = include_str!("values.yaml");

/// What the tests of the area share.
pub(crate) struct Area {
    pub(crate) cluster: Cluster,
    pub(crate) kubectl: Kubectl,
    pub(crate) api: Api,
    authority: Authority,
    state: Shared,
    turn: Mutex<()>,
}

pub(crate) static AREA: LazyLock<Area> = LazyLock::new(Area::new);

impl Area {
    #[track_caller]
    fn new() -> Self {
        let name = std::env::var("EGRESS_GUARD_CLUSTER").expect("`cargo xtask e2e` runs these tests");
        let cluster = Cluster::load(&name).expect("the cluster's description");
        let kubectl = Kubectl::new(&cluster, GUARD);
        let netns = NodeNetns::new(&cluster.control_plane_netns);
        let authority = Authority::new_in_memory().expect("a certificate authority");
        let state = Shared::default();
        netns.sh(&format!("ip addr replace {WEBHOOK}/32 dev lo"));
        let host = format!("{SERVICE}.{GUARD}.svc");
        server::serve(&netns, &authority, WEBHOOK, &[&host], &state);
        let area = Self { api: Api::new(&kubectl, netns), cluster, kubectl, authority, state, turn: Mutex::new(()) };
        area.tidy();
        area
    }

    /// What an earlier run on the same cluster has left.
    fn tidy(&self) {
        let _ = self.helm(["uninstall", GUARD, "--namespace", GUARD, "--ignore-not-found"]).output();
        self.kubectl.run(["delete", "namespace", "--selector=egressguard.io/e2e-admission", "--wait=false"]).ok();
        self.kubectl.run(["delete", "mutatingwebhookconfiguration", "--selector=egressguard.io/e2e-admission"]).ok();
    }

    fn helm<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let home = self.cluster.dir.join("helm");
        let mut command =
            xtask::netns::command_in(&self.cluster.control_plane_netns, self.cluster.binaries.join("helm"));
        command.env("KUBECONFIG", &self.cluster.kubeconfig).env("HOME", home).args(arguments);
        command
    }

    /// PEM of the CA that webhooks are served with.
    pub(crate) fn webhook_ca(&self) -> String {
        self.authority.certificate_pem()
    }

    /// Whether the cluster has a kind of objects.
    pub(crate) fn has(&self, resource: &str) -> bool {
        self.kubectl
            .run(["api-resources", "-o", "name"])
            .ok()
            .lines()
            .any(|line| line.starts_with(&format!("{resource}.")))
    }

    /// Whether the chart has made an object.
    pub(crate) fn has_object(&self, kind: &str, name: &str) -> bool {
        self.kubectl.run(["get", kind, name]).status.success()
    }

    /// `clientConfig` of the server's injector.
    pub(crate) fn injector(&self) -> Value {
        json!({"url": format!("https://{WEBHOOK}/inject"), "caBundle": base64(&self.webhook_ca())})
    }
}

/// The guard's admission in one mode. Dropped, it is uninstalled.
pub(crate) struct Installation {
    pub(crate) settings: Settings,
    /// An ordinary namespace.
    pub(crate) plain: String,
    /// One whose label makes its pods agents of the class `chatgpt`.
    pub(crate) labelled: String,
    /// One that the class `tied` is tied to.
    pub(crate) tied: String,
    ca: String,
    labels: BTreeMap<String, BTreeMap<String, String>>,
    _turn: MutexGuard<'static, ()>,
}

/// What the chart is told, and what comes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// `admission.mode`
    pub(crate) admission: &'static str,
    /// `trust.bundle`
    pub(crate) trust: &'static str,
}

impl Installation {
    /// Installs, and waits until the API server goes by it. `ca` is what agents trust.
    #[track_caller]
    pub(crate) fn new(mode: Mode, ca: &str) -> Self {
        // A test that failed has released what it held.
        let turn = AREA.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let number = unique(&format!("adm-{}", std::process::id()));
        let [plain, labelled, tied] = ["plain", "labelled", "tied"].map(|kind| format!("{number}-{kind}"));
        let labels = namespaces(&[(&plain, ""), (&labelled, "chatgpt"), (&tied, "")]);
        let chart = chart(&AREA.cluster.dir.join("chart"));
        let classes = json!([{"name": "tied", "namespaces": [tied]}, {"name": "free"}]);
        let mut helm = AREA.helm(["upgrade", "--install", GUARD, "--namespace", GUARD, "--create-namespace"]);
        helm.arg(&chart).args(["--set", &format!("admission.mode={}", mode.admission)]);
        helm.args(["--set", &format!("trust.bundle={}", mode.trust)]);
        helm.args(["--set-json", &format!("agents.classes={classes}")]);
        xtask::run::capture(&mut helm).expect("helm install");
        let text = AREA.kubectl.get("configmap", "egress-guard-admission")["data"]["admission.yaml"].clone();
        let settings: Settings = serde_saphyr::from_str(text.as_str().expect("a text")).expect("the chart's settings");
        let this = Self { settings, plain, labelled, tied, ca: ca.to_owned(), labels, _turn: turn };
        this.control();
        this.wait();
        this
    }

    /// What `guard control` does: it publishes the CA, and serves webhooks whose certificate it has signed.
    #[track_caller]
    fn control(&self) {
        {
            let mut state = AREA.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.settings = Some(self.settings.clone());
            state.ca.clone_from(&self.ca);
            state.namespaces.clone_from(&self.labels);
        }
        AREA.kubectl.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": CA_CONFIG_MAP, "namespace": GUARD}, "data": {CA_FILE: self.ca}}));
        if AREA.has("clustertrustbundles") {
            AREA.kubectl.apply(&json!({"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
                "metadata": {"name": TRUST_BUNDLE},
                "spec": {"signerName": "egressguard.io/serving", "trustBundle": self.ca}}));
        }
        AREA.kubectl
            .apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE, "namespace": GUARD},
            "spec": {"clusterIP": WEBHOOK, "ports": [{"port": 443}]}}));
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let found = AREA.kubectl.run(["get", kind, GUARD, "--ignore-not-found", "-o", "json"]).ok();
            let Ok(configuration) = serde_json::from_str::<Value>(&found) else { continue };
            let webhooks = configuration["webhooks"].as_array().expect("webhooks");
            let patch: Vec<Value> = (0..webhooks.len())
                .map(|index| json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": base64(&AREA.webhook_ca())}))
                .collect();
            AREA.kubectl.run(["patch", kind, GUARD, "--type=json", "-p", &json!(patch).to_string()]).ok();
        }
    }

    /// New policies and webhooks are looked at about once a second.
    #[track_caller]
    fn wait(&self) {
        let agent = json!({"egressguard.io/agent": "chatgpt"});
        for (namespace, labels) in [(&self.plain, agent.clone()), (&self.labelled, json!({}))] {
            let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
            let pod = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "labels": labels}, "spec": spec});
            let container = json!([{"name": "main", "image": "x"}]);
            eventually("agent pods to be made safe", SOON, || {
                let reply = AREA.api.create(&path, &pod(json!({"containers": container})));
                let broken = guard_admission::judge(&self.settings, &self.place(namespace), &reply.body);
                if reply.status == 201 && broken.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{broken:?} {:?}", reply.body["message"]))
                }
            });
            eventually("unsafe pods to be refused", SOON, || {
                let reply = AREA.api.create(&path, &pod(json!({"containers": container, "hostIPC": true})));
                if reply.status >= 400 { Ok(()) } else { Err("it was let in") }
            });
        }
    }

    /// Where a pod of this namespace is.
    pub(crate) fn place<'a>(&'a self, namespace: &'a str) -> Place<'a> {
        let labels = self.labels.get(namespace).expect("a namespace of this installation");
        Place { namespace, namespace_labels: labels, ca: Some(&self.ca) }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let _ = AREA.helm(["uninstall", GUARD, "--namespace", GUARD]).output();
        for namespace in self.labels.keys() {
            let _ = AREA.kubectl.run(["delete", "namespace", namespace, "--wait=false"]);
        }
        // No other installation is to find these policies still at work.
        std::thread::sleep(Duration::from_secs(3));
    }
}

/// Makes them, with `ServiceAccount`s that are there.
#[track_caller]
fn namespaces(wanted: &[(&str, &str)]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (name, class) in wanted {
        let mut labels = BTreeMap::from([("egressguard.io/e2e-admission".to_owned(), "true".to_owned())]);
        if !class.is_empty() {
            labels.insert("egressguard.io/agent".into(), (*class).into());
        }
        AREA.kubectl
            .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}));
        eventually("the default ServiceAccount", SOON, || {
            let answer = AREA.kubectl.run(["get", "serviceaccount", "default", "--namespace", name]);
            if answer.status.success() { Ok(()) } else { Err(answer.err) }
        });
        all.insert((*name).to_owned(), labels);
    }
    all
}

/// A chart of the templates of admission alone, with values of the tests.
#[track_caller]
fn chart(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts/egress-guard/templates");
    let templates = folder.join("templates/admission");
    fs::create_dir_all(&templates).expect("a folder for the chart");
    for file in fs::read_dir(source.join("admission")).expect("the templates").flatten() {
        fs::copy(file.path(), templates.join(file.file_name())).expect("copying a template");
    }
    fs::copy(source.join("_helpers.tpl"), folder.join("templates/_helpers.tpl")).expect("copying the helpers");
    fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: egress-guard\nversion: 0.1.0\nappVersion: 0.1.0\n")
        .expect("Chart.yaml");
    let (repository, tag) = images::GUARD.rsplit_once(':').expect("an image with a tag");
    let values = VALUES.replace("REPOSITORY", repository).replace("TAG", tag);
    fs::write(folder.join("values.yaml"), values).expect("values.yaml");
    folder.to_owned()
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(text)
}
