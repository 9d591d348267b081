//! Webhook configurations, for clusters that lack the policies. They send only what concerns agents, and who is none notices nothing when
//! `guard control` is away.

use serde_json::{Value, json};

use super::{BINDINGS, Inputs, VERSION, merged};
use crate::live;

/// How the API server reaches the webhook: `clientConfig` for a path.
pub type Client<'a> = &'a dyn Fn(&str) -> Value;

/// What agent pods are made safe by where there is no `MutatingAdmissionPolicy`.
pub fn mutating_webhooks(inputs: &Inputs, client: Client<'_>) -> Value {
    let rules = json!([
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]},
    ]);
    let webhooks: Vec<Value> = for_agents("pods", "/admission/mutate", &rules, inputs, client)
        .iter()
        .map(|webhook| merged(webhook, &json!({"reinvocationPolicy": "IfNeeded"})))
        .collect();
    configuration("MutatingWebhookConfiguration", &webhooks)
}

/// What holds stored pods to the rules where there is no `ValidatingAdmissionPolicy`.
pub fn validating_webhooks(inputs: &Inputs, client: Client<'_>) -> Value {
    let path = "/admission/validate";
    let pods = json!([{
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["pods", "pods/status", "pods/ephemeralcontainers", "pods/resize"],
    }]);
    let secrets =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]);
    let mut webhooks = for_agents("pods", path, &pods, inputs, client);
    webhooks.extend(for_agents("secrets", path, &secrets, inputs, client).pop());
    let conditional = |name: &str, failure: &str, operation: &str, resources: Value, condition: &str| {
        let rules =
            json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": resources}]);
        merged(
            &webhook(name, path, &rules, client),
            &json!({
                "failurePolicy": failure,
                "matchConditions": [{"name": "concerns-agents", "expression": condition}],
            }),
        )
    };
    webhooks.push(conditional("copies", "Ignore", "CREATE", json!(["pods"]), &live::is_copy()));
    webhooks.push(conditional(
        "connections",
        "Fail",
        "CONNECT",
        json!(["pods/exec", "pods/attach"]),
        &live::enters_gate(),
    ));
    webhooks.push(conditional(
        "bindings",
        "Fail",
        "CREATE",
        json!(["pods/binding", "bindings"]),
        &live::carries_ours(),
    ));
    let workloads = json!([
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["replicationcontrollers", "podtemplates"]},
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments", "statefulsets", "daemonsets", "replicasets"]},
        {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["jobs", "cronjobs"]},
    ]);
    webhooks.push(merged(
        &webhook("templates", path, &workloads, client),
        &json!({"failurePolicy": "Ignore", "timeoutSeconds": 2}),
    ));
    configuration("ValidatingWebhookConfiguration", &webhooks)
}

/// For labelled objects, and for labelled namespaces.
fn for_agents(name: &str, path: &str, rules: &Value, inputs: &Inputs, client: Client<'_>) -> Vec<Value> {
    BINDINGS
        .map(|(suffix, selects)| {
            merged(&webhook(&format!("{name}-{suffix}"), path, rules, client), &selects.selectors(inputs))
        })
        .into()
}

fn webhook(name: &str, path: &str, rules: &Value, client: Client<'_>) -> Value {
    json!({
        "name": format!("{name}.admission.egressguard.io"),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": 10,
        "rules": rules,
        "clientConfig": client(path),
    })
}

fn configuration(kind: &str, webhooks: &[Value]) -> Value {
    json!({"apiVersion": VERSION, "kind": kind, "metadata": {"name": "egress-guard"}, "webhooks": webhooks})
}
