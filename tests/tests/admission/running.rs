//! Agent pods as a kubelet runs them: the gate gets its files, whatever uid and group the pod sets, and passes what namespaces demand.

use std::sync::LazyLock;

use guard_e2e::harness::{Kubectl, SOON, World, eventually};
use serde_json::{Value, json};
use xtask::images;

use crate::installation::{AREA, Installation};

/// A guard on each node, whose certificate is of this CA.
static WORLD: LazyLock<World> = LazyLock::new(World::guarded);

/// What agents have to trust.
pub(crate) fn ca() -> String {
    WORLD.guard_ca.clone()
}

/// Creates them all and waits until each is ready: its gate has proven enforcement.
#[track_caller]
pub(crate) fn agents_start_as_they_are_stored(installation: &Installation) {
    let namespace = &installation.labelled;
    let kubectl = Kubectl::new(&AREA.cluster, namespace);
    demanding(&kubectl, namespace);
    for node in &AREA.cluster.nodes {
        images::provide(&AREA.cluster, node, images::GUARD).expect("the guard's image on each node");
    }
    let restricted = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true, "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let pods = [
        ("plain", json!({}), restricted.clone()),
        ("fs-group", json!({"securityContext": {"fsGroup": 2000}}), restricted.clone()),
        ("one-uid", json!({"securityContext": {"runAsUser": 65532}}), merged(&restricted, "runAsUser", &json!(65532))),
        ("no-token", json!({"automountServiceAccountToken": false}), restricted.clone()),
    ];
    for (name, spec, context) in &pods {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": images::AGENT, "imagePullPolicy": "Never", "securityContext": context,
                "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "20m", "memory": "64Mi"}}}],
        }});
        for (field, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][field] = value.clone();
        }
        kubectl.apply(&pod);
    }
    for (name, ..) in &pods {
        eventually(&format!("agent {name} to be ready"), SOON * 3, || {
            let pod = kubectl.get("pod", name);
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
            let gate = kubectl.run(["logs", name, "--container=egress-guard-gate", "--tail=3"]).out_and_err();
            if ready { Ok(()) } else { Err(format!("{}\n{gate}", pod["status"])) }
        });
        let said = kubectl.run(["logs", name, "--container=egress-guard-gate"]).ok();
        assert!(said.contains("guarded:"), "{said}");
    }
    credentials(&kubectl);
    entering(&kubectl);
}

/// What clients find in an agent pod, and what they don't.
fn credentials(kubectl: &Kubectl) {
    let read = |file: &str| {
        let file = format!("/var/run/secrets/kubernetes.io/serviceaccount/{file}");
        kubectl.run(["exec", "fs-group", "--container=main", "--", "cat", &file]).ok()
    };
    assert_eq!(read("ca.crt").trim(), WORLD.guard_ca.trim());
    let token = read("token");
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token.trim()}});
    let reply = AREA.api.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).stored();
    assert_ne!(reply["status"]["authenticated"], true, "the API server takes the agent's token: {}", reply["status"]);
    let gone = kubectl.run(["exec", "fs-group", "--container=main", "--", "ls", "/var/run/secrets/egressguard.io"]);
    assert!(!gone.status.success(), "{}", gone.out);
}

/// kubectl as a person uses it, the annotation for the default container included.
fn entering(kubectl: &Kubectl) {
    kubectl.run(["annotate", "pod", "plain", "kubectl.kubernetes.io/default-container=egress-guard-gate"]).ok();
    for arguments in [vec!["exec", "plain", "--", "sh"], vec!["attach", "plain", "--container=egress-guard-gate"]] {
        let said = kubectl.run(arguments).refused();
        assert!(said.contains("nobody enters the guard's gate"), "{said}");
    }
}

/// Pod Security's strictest level, a range and a quota that every container must be within.
fn demanding(kubectl: &Kubectl, namespace: &str) {
    kubectl.run(["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"]).ok();
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "range"}, "spec": {"limits": [{
            "type": "Container", "min": {"cpu": "10m", "memory": "16Mi"}, "max": {"cpu": "1", "memory": "1Gi"},
            "maxLimitRequestRatio": {"cpu": "1", "memory": "1"}}]}},
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": {
            "requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "1", "limits.memory": "1Gi"}}},
    ]}));
}

fn merged(object: &Value, field: &str, value: &Value) -> Value {
    let mut merged = object.clone();
    merged[field] = value.clone();
    merged
}
