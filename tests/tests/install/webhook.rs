//! Admission by the webhook of the real `guard control` behind its Service, beside policies that judge what is stored, with the CA by annotation.

use guard_e2e::harness::{Installed, SOON, eventually};
use serde_json::json;
use xtask::cluster::Node;
use xtask::images;

use crate::agents::Agent;

/// What the chart is told for it.
pub(crate) const VALUES: [&str; 2] = ["admission.mode=webhook", "trust.bundle=Annotation"];

/// A new agent gets its gate and the CA from the webhook, and works; what the webhook can't make safe, the policies refuse.
pub(crate) fn makes_agents_safe<'a>(installed: &Installed, node: &'a Node) -> Agent<'a> {
    let mutating = installed.kubectl.run(["get", "mutatingadmissionpolicies", "-o", "name"]).ok();
    assert!(!mutating.contains("egress-guard"), "nobody but the webhook is there to change pods: {mutating}");
    eventually("the API server to trust control's webhook", SOON, || {
        let object = installed.kubectl.get("mutatingwebhookconfiguration", "egress-guard");
        let hooks = object["webhooks"].as_array().expect("webhooks");
        if hooks.iter().all(|hook| hook["clientConfig"]["caBundle"].is_string()) {
            Ok(())
        } else {
            Err(object.to_string())
        }
    });
    let agent = Agent::labelled(installed, "webhooked", node).ready(installed);
    let pod = installed.kubectl.get("pod", &agent.pod());
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "egress-guard-gate", "{pod}");
    let ca = pod["metadata"]["annotations"]["egressguard.io/ca"].as_str().unwrap_or_default();
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"), "{pod}");
    assert!(!pod["spec"]["volumes"].to_string().contains("clusterTrustBundle"), "{pod}");
    agent.exec(&["kubectl", "get", "configmaps", "-o", "name"]).ok();
    agent.is_shut_in(installed);

    let unsafe_pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "unsafe", "labels": {"egressguard.io/agent": "chatgpt"}},
        "spec": {"hostIPC": true, "containers": [{"name": "main", "image": images::AGENT, "imagePullPolicy": "Never"}]},
    });
    let create = installed.kubectl.command(["create", "-f", "-"]);
    let refused = guard_e2e::harness::run(create, &unsafe_pod.to_string()).refused();
    assert!(refused.contains("ValidatingAdmissionPolicy") && refused.contains("hostIPC"), "{refused}");
    agent
}
