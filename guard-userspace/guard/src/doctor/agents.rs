//! Agent pods that are not served, and why.

use guard_admission::GATE_CONTAINER;
use guard_api::AGENT_LABEL;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::finding::{Finding, named};

/// What Multus reads: further interfaces of a pod.
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// `pods` with the label, and the namespaces with it.
pub(super) fn look(pods: &[Pod], namespaces: &[String]) -> Vec<Finding> {
    let running: Vec<&Pod> = pods.iter().filter(|pod| !has_ended(pod)).collect();
    let those = |has: &dyn Fn(&Pod) -> bool| -> Vec<String> {
        running.iter().filter(|pod| has(pod)).map(|pod| name(pod)).collect()
    };
    let mut findings = Vec::new();
    let late = those(&|pod| !has_gate(pod));
    if !late.is_empty() {
        findings.push(Finding::fail(
            "agents",
            format!("labelled while they ran, so cut off: {}", named(&late)),
            format!("put {AGENT_LABEL} on their template, or on their namespace, and delete the pods"),
        ));
    }
    let on_host = those(&|pod| pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false));
    if !on_host.is_empty() {
        findings.push(Finding::fail(
            "agents",
            format!("hostNetwork can't be guarded: {}", named(&on_host)),
            "take hostNetwork off their templates",
        ));
    }
    let more = those(&|pod| pod.annotations().contains_key(NETWORKS));
    if !more.is_empty() {
        findings.push(Finding::warn(
            "interfaces",
            format!("agent pods with further interfaces: {}", named(&more)),
            "each has to be a veth: a pod with another kind is refused, with an event",
        ));
    }
    if findings.is_empty() {
        let namespaces = if namespaces.is_empty() {
            String::new()
        } else {
            format!("; namespaces of agents: {}", named(namespaces))
        };
        findings.push(Finding::ok("agents", format!("{} agent pods, all made as such{namespaces}", running.len())));
    }
    findings
}

fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn has_gate(pod: &Pod) -> bool {
    let inits = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    inits.is_some_and(|inits| inits.iter().any(|container| container.name == GATE_CONTAINER))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::finding::Status;
    use super::*;

    fn pod(spec: &Value, annotations: &Value) -> Pod {
        let mut spec = spec.clone();
        spec["containers"] = json!([]);
        serde_json::from_value(json!({
            "metadata": {"name": "bot", "namespace": "a", "labels": {AGENT_LABEL: "ci"}, "annotations": annotations},
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_that_was_labelled_late_or_can_not_be_guarded_has_failed() {
        let gate = json!({"initContainers": [{"name": GATE_CONTAINER}]});
        assert_eq!(look(&[pod(&gate, &json!({}))], &["a".into()])[0].status, Status::Ok);
        let late = look(&[pod(&json!({}), &json!({}))], &[]);
        assert!(late[0].status == Status::Fail && late[0].found.contains("a/bot"), "{late:?}");
        let host = json!({"hostNetwork": true, "initContainers": [{"name": GATE_CONTAINER}]});
        assert_eq!(look(&[pod(&host, &json!({}))], &[])[0].status, Status::Fail);
        assert_eq!(look(&[pod(&gate, &json!({NETWORKS: "macvlan"}))], &[])[0].status, Status::Warn);
    }
}
