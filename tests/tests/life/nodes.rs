//! What happens to a node while its guard lives: its kubelet and its runtime restart, and it is drained.

use guard_e2e::harness::{PodPlan, eventually, unique};
use nix::sys::signal::Signal;
use serde_json::json;
use xtask::cluster::Program;
use xtask::images;

use crate::BED;
use crate::bed::{LABEL, LONG, agent};

/// Ends a program of the second node and starts it again; nobody in it notices, and what starts afterwards is guarded.
fn restarted(program: Program) {
    let _turn = BED.turn();
    let cluster = &BED.installed.cluster;
    let seen = BED.witnesses().watch(&BED.installed, || {
        let ended = cluster.end_program(BED.node(), program, Signal::SIGTERM).expect("ending a program of the node");
        // Long enough for whoever depends on it to notice.
        std::thread::sleep(std::time::Duration::from_secs(3));
        cluster.start_program(BED.node(), &ended).expect("starting it again");
        let [new, ordinary] =
            BED.pods(&[agent(unique("after-restart")).on(1), PodPlan::ordinary(unique("after-restart")).on(1)]);
        BED.served(&new);
        BED.reaches_the_api_server(&ordinary, "172.30.0.10:6443").expect("an ordinary pod stays one");
    });
    seen.nothing_noticed();
}

#[test]
fn no_agent_notices_that_the_kubelet_restarts() {
    restarted(Program::Kubelet);
}

#[test]
fn no_agent_notices_that_containerd_restarts() {
    restarted(Program::Containerd);
}

#[test]
fn a_drained_nodes_agents_are_guarded_where_they_go() {
    let _turn = BED.turn();
    let installed = &BED.installed;
    let name = unique("drained");
    let labels = json!({"app": name, LABEL: "chatgpt"});
    installed.kubectl.run(["cordon", "n1"]).ok();
    installed.kubectl.apply(&json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
        "spec": {
            "serviceName": name, "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": "agent", "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": images::AGENT, "imagePullPolicy": "Never"}],
            }},
        },
    }));
    let pod = format!("{name}-0");
    let ready_on = |node: &str| {
        eventually(&format!("{pod} to be ready on {node}"), LONG, || {
            let object = installed.kubectl.run(["get", "pod", &pod, "-o", "jsonpath={.spec.nodeName} {.status.conditions[?(@.type==\"Ready\")].status} {.metadata.deletionTimestamp}"]);
            if object.out.trim() == format!("{node} True") { Ok(()) } else { Err(object.out_and_err()) }
        });
        guard_e2e::harness::Pod::existing(&installed.kubectl, &installed.cluster.nodes, &pod)
    };
    let before = ready_on("n2");
    BED.served(&before);
    installed.kubectl.run(["uncordon", "n1"]).ok();
    let drain =
        ["drain", "n2", "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector", &format!("app={name}")];
    installed.kubectl.run(drain).ok();
    let after = ready_on("n1");
    assert_ne!(before.uid, after.uid, "the same name, another pod");
    BED.served(&after);
    installed.kubectl.run(["uncordon", "n2"]).ok();
    // The node that it left keeps nothing of it.
    let pins = installed.pins(BED.node()).join(format!("v{}/pods", guard_common::LAYOUT_VERSION));
    eventually("its pins to be gone", LONG, || {
        let left = std::fs::read_dir(&pins).into_iter().flatten().flatten();
        let left = left.filter(|pin| pin.file_name().to_string_lossy().starts_with(&before.uid)).count();
        if left == 0 { Ok(()) } else { Err(left) }
    });
    installed.kubectl.run(["delete", "statefulset", &name, "--wait=false"]).ok();
}
