//! What the chart makes of its values. A real API server judges the objects.

use guard_e2e::harness::{Installed, RELEASE, rendered};
use serde_json::Value;
use xtask::cluster::Cluster;

use crate::turn;

fn cluster() -> Cluster {
    Cluster::load(&std::env::var("EGRESS_GUARD_CLUSTER").expect("cargo xtask e2e runs these tests")).expect("a cluster")
}

fn of<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn helm_lint_has_nothing_to_say() {
    let chart = Installed::chart().display().to_string();
    let mut helm = std::process::Command::new(cluster().binaries.join("helm"));
    let output = helm.args(["lint", "--strict", &chart]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_value_that_is_not_there_is_an_error() {
    for wrong in [
        "node.kubletRoot=/x",
        "nod.drainFor=1",
        "control.replicas=many",
        "admission.mode=sometimes",
        "image.pullPolicy=Perhaps",
    ] {
        let chart = Installed::chart().display().to_string();
        let mut helm = std::process::Command::new(cluster().binaries.join("helm"));
        let output = helm.args(["template", RELEASE, &chart, "--set", wrong]).output().unwrap();
        assert!(!output.status.success(), "{wrong} was accepted");
    }
}

#[test]
fn the_api_server_takes_every_object_whatever_the_values() {
    let _turn = turn();
    let cluster = cluster();
    let sets: [&[&str]; 6] = [
        &[],
        &["admission.mode=webhook", "trust.bundle=Annotation"],
        &["control.replicas=1", "networkPolicy.enabled=false", "metrics.service.enabled=false", "crds.install=false"],
        &[
            "image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "imagePullSecrets[0].name=pull",
        ],
        &[
            "node.seLinuxOptions.type=spc_t",
            "node.nodeSelector.a=b",
            "node.mark=0x10000",
            "node.nat64Prefix=2001:db8:64::",
        ],
        &[
            "agents.classes[0].name=ci",
            "agents.classes[0].namespaces[0]=a",
            "log.level=debug",
            "control.podDisruptionBudget.enabled=false",
        ],
    ];
    // Objects of kinds and namespaces that are only being made can't be tried.
    let namespace = format!("dry-{}", std::process::id());
    cluster.kubectl_output(["create", "namespace", &namespace]).unwrap();
    for set in sets {
        let objects: Vec<Value> = rendered(&cluster, set)
            .into_iter()
            .map(|mut object| {
                if !object["metadata"]["namespace"].is_null() && object["metadata"]["namespace"] != "default" {
                    object["metadata"]["namespace"] = Value::from(namespace.clone());
                }
                object
            })
            .collect();
        // A pod is refused whose ServiceAccount isn't there, be it for a try.
        for account in objects.iter().filter(|object| object["kind"] == "ServiceAccount") {
            let name = account["metadata"]["name"].as_str().unwrap();
            // An earlier set has made most of them.
            cluster.kubectl_output(["create", "serviceaccount", name, "--namespace", &namespace]).ok();
        }
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = cluster.dir.join(format!("dry-{}.json", std::process::id()));
        std::fs::write(&file, list.to_string()).unwrap();
        let tried = cluster.kubectl_output(["apply", "--dry-run=server", "-f", &file.display().to_string()]);
        std::fs::remove_file(&file).unwrap();
        let said = tried.unwrap_or_else(|error| panic!("{set:?}: {error:#}"));
        assert!(said.lines().count() >= objects_at_least(set), "{set:?}: {said}");
    }
    cluster.kubectl_output(["delete", "namespace", &namespace]).unwrap();
}

fn objects_at_least(set: &[&str]) -> usize {
    if set.contains(&"crds.install=false") { 20 } else { 25 }
}

#[test]
fn the_node_guard_has_the_capabilities_that_it_needs_and_no_others() {
    let objects = rendered(&cluster(), &[]);
    let set = of(&objects, "DaemonSet", "egress-guard-node");
    let pod = &set["spec"]["template"]["spec"];
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    let wanted = serde_json::json!(["BPF", "DAC_READ_SEARCH", "NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"]);
    assert_eq!(security["capabilities"]["add"], wanted);
    assert_eq!((&security["privileged"], &security["readOnlyRootFilesystem"]), (&false.into(), &true.into()));
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    let drain: u64 = pod["containers"][0]["args"]
        .as_array()
        .and_then(|args| args.iter().find_map(|arg| arg.as_str()?.strip_prefix("--drain-for=")?.parse().ok()))
        .expect("how long it drains");
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > drain);
    assert!(
        pod["containers"][0]["ports"].is_null(),
        "a port would keep the next version from starting beside this one"
    );
    let writable: Vec<&str> = pod["containers"][0]["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|mount| mount["readOnly"] != true)
        .filter_map(|mount| mount["mountPath"].as_str())
        .collect();
    assert_eq!(writable, ["/run/egress-guard", "/var/lib/egress-guard", "/sys/fs/bpf", "/host/proc/sys/net"]);
}

#[test]
fn each_optional_part_has_a_switch() {
    let cluster = cluster();
    let has = |set: &[&str], kind: &str| rendered(&cluster, set).iter().any(|object| object["kind"] == kind);
    let switches = [
        ("crds.install", "CustomResourceDefinition"),
        ("networkPolicy.enabled", "NetworkPolicy"),
        ("control.podDisruptionBudget.enabled", "PodDisruptionBudget"),
        ("metrics.serviceMonitor.enabled", "ServiceMonitor"),
    ];
    for (switch, kind) in switches {
        assert!(has(&[&format!("{switch}=true")], kind), "{switch}");
        assert!(!has(&[&format!("{switch}=false")], kind), "{switch}");
    }
    let kept = |keep: &str| {
        let objects = rendered(&cluster, &[&format!("crds.keep={keep}")]);
        let crd = objects.iter().find(|object| object["kind"] == "CustomResourceDefinition").expect("a CRD").clone();
        crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    };
    assert!(kept("true") && !kept("false"));
}
