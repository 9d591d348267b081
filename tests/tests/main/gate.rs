//! The gate: what it has seen closed before an agent starts, and what it says where nothing is guarded.

use guard_e2e::harness::{Agent, PodPlan, SOON, eventually, unique};
use serde_json::json;
use xtask::images;

use crate::WORLD;

const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[test]
fn a_gate_lets_its_agent_start_after_it_has_seen_every_way_closed() {
    let agent = WORLD.pod(PodPlan::agent(unique("gated"), Agent("chatgpt")));
    let said = WORLD.kubectl.run(["logs", &agent.name, "--container=egress-guard-gate"]).ok();
    assert!(said.contains("closed") && said.contains("raw packets dropped"), "{said}");
}

#[test]
fn a_gate_where_nothing_is_guarded_fails_and_names_the_way_that_is_open() {
    let name = unique("ungated");
    // All that an agent pod has, but for the label.
    WORLD.kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "nodeName": WORLD.cluster.nodes[0].name,
            "serviceAccountName": "agent",
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "gate", "image": images::GATE, "imagePullPolicy": "Never",
                "command": ["/usr/local/bin/guard", "gate", "--timeout", "3"],
                "volumeMounts": [{"name": "credentials", "mountPath": CREDENTIALS, "readOnly": true}],
            }],
            "volumes": [{"name": "credentials", "projected": {"sources": [
                {"serviceAccountToken": {"audience": "egressguard.io", "expirationSeconds": 3600, "path": "token"}},
                {"configMap": {"name": "egress-guard-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            ]}}],
        },
    }));
    eventually("the gate to fail", SOON, || {
        let pod = WORLD.kubectl.get("pod", &name);
        if pod["status"]["phase"] == "Failed" { Ok(()) } else { Err(pod["status"].to_string()) }
    });
    let said = WORLD.kubectl.run(["logs", &name]).ok();
    assert!(said.contains("10.96.0.1:443"), "{said}");
    WORLD.kubectl.run(["delete", "pod", &name, "--wait=false"]).ok();
}

#[test]
fn a_gate_lets_nothing_start_before_the_pod_is_guarded() {
    let name = unique("gated");
    // A gate and no label: nobody guards this pod.
    WORLD.kubectl.apply(&PodPlan::agent(&name, Agent("")).object(&WORLD.cluster.nodes));
    let state = || WORLD.kubectl.get("pod", &name)["status"]["containerStatuses"][0]["state"].clone();
    eventually("the gate to say what is open", SOON, || {
        let said = WORLD.kubectl.run(["logs", &name, "--container=egress-guard-gate"]).out_and_err();
        if said.contains("who answers at 10.96.0.1:443 is not the guard") { Ok(()) } else { Err(said) }
    });
    assert!(state()["waiting"].is_object(), "{}", state());
    WORLD.kubectl.run(["label", "pod", &name, "egressguard.io/agent=chatgpt"]).ok();
    eventually("the agent to start, once it is guarded", SOON, || {
        if state()["running"].is_object() { Ok(()) } else { Err(state()) }
    });
    WORLD.kubectl.run(["delete", "pod", &name, "--wait=false"]).ok();
}
