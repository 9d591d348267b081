//! Debian's Prometheus in the namespace of the control plane. It scrapes what the operator would by the chart's `ServiceMonitor`: Debian's package can't ask
//! Kubernetes itself, so it is told all endpoints with the labels that it would have found, and the `ServiceMonitor` selects.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use guard_e2e::harness::{Installed, Kubectl, NodeNetns, eventually, rendered};
use serde_json::{Value, json};
use xtask::cluster::Cluster;
use xtask::paths::Paths;
use xtask::prometheus::Prometheus;

use crate::documented::file;

const ADDRESS: &str = "127.0.0.1:9090";
const READY: Duration = Duration::from_mins(2);

/// Runs until dropped.
pub(crate) struct Server {
    netns: NodeNetns,
    child: Child,
    log: std::path::PathBuf,
}

/// Both programs, which `cargo xtask setup` brings.
pub(crate) fn programs() -> Prometheus {
    Prometheus::of(&Paths::find().expect("the checkout"))
}

impl Server {
    /// Starts it, with the alerts of the chart.
    #[track_caller]
    pub(crate) fn start(installed: &Installed) -> Self {
        let cluster = &installed.cluster;
        let folder = cluster.dir.join("prometheus");
        fs::create_dir_all(&folder).expect("a folder in the cluster's");
        let config = folder.join("prometheus.json");
        fs::write(&config, configuration(cluster).to_string()).expect("writing the configuration");
        let netns = NodeNetns::new(&cluster.control_plane_netns);
        let log = folder.join("log");
        let out = fs::File::create(&log).expect("a log");
        let mut command = netns.command(&programs().server);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={ADDRESS}"))
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a log"))
            .stderr(out);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("starting Prometheus ({error}); `cargo xtask setup` brings it"));
        let server = Self { netns, child, log };
        eventually("Prometheus to be ready", READY, || match server.get("/-/ready") {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}\n{}", server.said())),
        });
        server
    }

    /// The values of an instant query now: labels and value.
    pub(crate) fn query(&self, query: &str) -> Result<Vec<(Value, f64)>, String> {
        let command = format!("curl -sS --max-time 30 --data-urlencode 'query={query}' http://{ADDRESS}/api/v1/query");
        let answer = self.netns.try_sh(&command);
        let answer: Value = serde_json::from_str(&answer.out).map_err(|error| format!("{error}: {answer:?}"))?;
        if answer["status"] != "success" {
            return Err(format!("{query}: {answer}"));
        }
        let value = |one: &Value| Some((one["metric"].clone(), one["value"][1].as_str()?.parse().ok()?));
        Ok(answer["data"]["result"].as_array().into_iter().flatten().filter_map(value).collect())
    }

    /// What an address of its API says.
    pub(crate) fn get(&self, path: &str) -> Result<String, String> {
        let answer = self.netns.try_sh(&format!("curl -sS --fail --max-time 30 http://{ADDRESS}{path}"));
        if answer.status.success() { Ok(answer.out) } else { Err(answer.out_and_err()) }
    }

    /// The names of the alerts that fire, and all rules that are not evaluated.
    pub(crate) fn alerts(&self) -> (Vec<String>, Vec<String>) {
        let text = self.get("/api/v1/rules").unwrap_or_else(|error| panic!("{error}"));
        let answer: Value = serde_json::from_str(&text).expect("Prometheus' JSON");
        let rules = answer["data"]["groups"].as_array().into_iter().flatten();
        let rules: Vec<&Value> = rules.flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
        assert!(!rules.is_empty(), "Prometheus has no rule: {text}");
        let name = |rule: &&Value| rule["name"].as_str().unwrap_or_default().to_owned();
        let firing = rules.iter().filter(|rule| rule["state"] == "firing").map(name).collect();
        let ill = rules.iter().filter(|rule| rule["health"] != "ok").map(ToString::to_string).collect();
        (firing, ill)
    }

    fn said(&self) -> String {
        xtask::run::tail(&fs::read_to_string(&self.log).unwrap_or_default(), 15)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the operator makes of the chart's `ServiceMonitor`: the endpoints of Services with these labels, by the name of their port.
#[track_caller]
fn configuration(cluster: &Cluster) -> Value {
    let objects = rendered(cluster, &["metrics.serviceMonitor.enabled=true"]);
    let monitor = objects.iter().find(|object| object["kind"] == "ServiceMonitor").expect("a ServiceMonitor");
    let endpoint = &monitor["spec"]["endpoints"][0];
    let mut relabel = vec![keep("__meta_kubernetes_endpointslice_port_name", &endpoint["port"])];
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().expect("a selector") {
        relabel.push(keep(&format!("__meta_kubernetes_service_label_{}", plain(label)), value));
    }
    relabel.push(json!({"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"}));
    for one in endpoint["relabelings"].as_array().into_iter().flatten() {
        relabel.push(json!({"source_labels": one["sourceLabels"], "target_label": one["targetLabel"]}));
    }
    json!({
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [real(&file("deploy/charts/egress-guard/alerts/rules.yaml"))],
        "scrape_configs": [{
            "job_name": "egress-guard",
            "static_configs": endpoints(cluster, monitor["metadata"]["namespace"].as_str().expect("a namespace")),
            "relabel_configs": relabel,
        }],
    })
}

/// Every endpoint of every Service in a namespace, with what Prometheus' role `endpointslice` calls it. (An `EndpointSlice` has its Service's labels.)
#[track_caller]
fn endpoints(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let text = Kubectl::new(cluster, namespace).run(["get", "endpointslices", "-o", "json"]).ok();
    let list: Value = serde_json::from_str(&text).expect("kubectl's JSON");
    let mut targets = Vec::new();
    for slice in list["items"].as_array().expect("a list").iter().filter(|slice| slice["addressType"] == "IPv4") {
        for port in slice["ports"].as_array().into_iter().flatten() {
            for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
                let address = endpoint["addresses"][0].as_str().expect("an endpoint has an address");
                let mut labels = json!({
                    "__meta_kubernetes_endpointslice_port_name": port["name"],
                    "__meta_kubernetes_pod_name": endpoint["targetRef"]["name"],
                    "__meta_kubernetes_pod_node_name": endpoint["nodeName"],
                });
                for (label, value) in slice["metadata"]["labels"].as_object().into_iter().flatten() {
                    labels[format!("__meta_kubernetes_service_label_{}", plain(label))] = value.clone();
                }
                targets.push(json!({"targets": [format!("{address}:{}", port["port"])], "labels": labels}));
            }
        }
    }
    targets
}

/// As Prometheus writes a name that has other characters than its own labels may have.
fn plain(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn keep(source: &str, value: &Value) -> Value {
    json!({"source_labels": [source], "regex": value, "action": "keep"})
}

fn real(file: &Path) -> String {
    file.canonicalize().expect("the chart's rules").display().to_string()
}
