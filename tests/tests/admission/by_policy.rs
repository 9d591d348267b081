//! What policies alone can do: they are given Secrets, and know the node behind a token.

use guard_e2e::harness::{SOON, eventually};
use serde_json::{Value, json};

use crate::installation::{AREA, Installation};

const LABEL: &str = "egressguard.io/agent";

/// Only policies can see of what type a Secret is that a pod names. Runs after the others, which made one.
#[track_caller]
pub(crate) fn token_secrets_are_refused_wherever_a_pod_names_them(installation: &Installation) {
    let pods = format!("/api/v1/namespaces/{}/pods?dryRun=All", installation.plain);
    let opaque = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "opaque"}});
    AREA.api.create(&format!("/api/v1/namespaces/{}/secrets", installation.plain), &opaque).stored();
    let ways = |secret: &str| {
        [
            json!({"volumes": [{"name": "v", "secret": {"secretName": secret}}], "containers": [{"name": "main", "image": "x"}]}),
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": secret}}]}}], "containers": [{"name": "main", "image": "x"}]}),
            json!({"containers": [{"name": "main", "image": "x", "envFrom": [{"secretRef": {"name": secret}}]}]}),
            json!({"containers": [{"name": "main", "image": "x", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}]}]}),
        ]
    };
    let pod = |labels: Value, spec: &Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "secret", "labels": labels}, "spec": spec});
    for (token, opaque) in ways("token").iter().zip(&ways("opaque")) {
        // The API server looks at Secrets by its cache, which may be a moment behind.
        eventually("a token Secret to be refused", SOON, || {
            let reply = AREA.api.create(&pods, &pod(json!({LABEL: "chatgpt"}), token));
            let said = reply.body["message"].as_str().unwrap_or_default().to_owned();
            if said.contains("the Secret token holds the token of a ServiceAccount") {
                Ok(())
            } else {
                Err(format!("{token}: {said}"))
            }
        });
        AREA.api.create(&pods, &pod(json!({LABEL: "chatgpt"}), opaque)).stored();
        AREA.api.create(&pods, &pod(json!({}), token)).stored();
    }
}

/// A node's guard writes its own node's object alone.
#[track_caller]
pub(crate) fn a_guard_node_is_written_by_its_own_node(installation: &Installation) {
    let crd = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds/guardnodes.yaml");
    AREA.cluster.apply(&std::fs::read_to_string(crd).expect("the CRD")).expect("applying the CRD");
    let path = "/apis/egressguard.io/v1alpha1/guardnodes";
    let object = |name: &str| json!({"apiVersion": "egressguard.io/v1alpha1", "kind": "GuardNode", "metadata": {"name": name}, "spec": {}});
    let as_node = |node: &str, name: &str| {
        let user = &installation.settings.guard_service_accounts.node;
        let headers = format!(
            "Impersonate-User: {user}\r\nImpersonate-Group: system:masters\r\nImpersonate-Extra-authentication.kubernetes.io%2Fnode-name: {node}\r\n"
        );
        AREA.api.send("POST", &format!("{path}?dryRun=All"), "application/json", &object(name), &headers)
    };
    eventually("GuardNodes to be served", SOON, || {
        let reply = as_node("n2", "n1");
        let said = reply.body["message"].as_str().unwrap_or_default().to_owned();
        if said.contains("of its own node alone") { Ok(()) } else { Err(format!("{}: {said}", reply.status)) }
    });
    let own = as_node("n1", "n1");
    assert!(!own.body.to_string().contains("of its own node alone"), "{}", own.body);
}
