//! Somebody else's mutations around ours: an injecting webhook before and after, and policies of the first and the last name.

use guard_e2e::harness::{SOON, eventually};
use serde_json::{Value, json};

use crate::installation::{AREA, Installation};
use crate::judged;
use crate::table::{End, Row};

/// Others that change pods of these namespaces. Dropped, they are removed.
pub(crate) struct Others {
    objects: Vec<Value>,
}

impl Others {
    #[track_caller]
    pub(crate) fn new(installation: &Installation) -> Self {
        let here = json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In",
            "values": [installation.plain, installation.labelled, installation.tied]}]});
        let mut objects: Vec<Value> = [("aa-mesh", "Never"), ("zz-mesh", "IfNeeded")]
            .iter()
            .map(|(name, again)| {
                json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                    "metadata": {"name": name, "labels": {"egressguard.io/e2e-admission": "true"}},
                    "webhooks": [{
                        "name": format!("{name}.mesh.test"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
                        "reinvocationPolicy": again, "namespaceSelector": here, "clientConfig": AREA.injector(),
                        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                    }]})
            })
            .collect();
        if AREA.has("mutatingadmissionpolicies") {
            for name in ["aaa-init", "zzz-init"] {
                objects.extend(policy(name, &here));
            }
        }
        for object in &objects {
            AREA.kubectl.apply(object);
        }
        Self { objects }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for object in &self.objects {
            let kind = object["kind"].as_str().expect("a kind");
            let name = object["metadata"]["name"].as_str().expect("a name");
            let _ = AREA.kubectl.run(["delete", kind, name]);
        }
    }
}

/// Puts an init container before all others.
fn policy(name: &str, here: &Value) -> [Value; 2] {
    let expression = format!(
        "object.spec.?initContainers.orValue([]).exists(c, c.name == \"{name}\") ? [] : \
         (has(object.spec.initContainers) ? [] : [JSONPatch{{op: \"add\", path: \"/spec/initContainers\", value: []}}]) + \
         [JSONPatch{{op: \"add\", path: \"/spec/initContainers/0\", value: Object.spec.initContainers{{name: \"{name}\", image: \"x\"}}}}]"
    );
    let version = "admissionregistration.k8s.io/v1";
    [
        json!({"apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
            ]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        }}),
        json!({"apiVersion": version, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "matchResources": {"namespaceSelector": here}}}),
    ]
}

/// Every agent pod of the table is stored safe all the same, with what the others have put in.
#[track_caller]
pub(crate) fn agents_are_safe_beside_others(installation: &Installation, rows: &[Row]) {
    let others = Others::new(installation);
    let theirs: &[&str] =
        if AREA.has("mutatingadmissionpolicies") { &["mesh-setup", "aaa-init", "zzz-init"] } else { &["mesh-setup"] };
    eventually("the others to be at work", SOON, || {
        let (names, message) = init_containers_of_an_agent(installation);
        let all = theirs.iter().all(|name| names.iter().any(|given| given == name));
        if all && names.first().is_some_and(|first| first == "egress-guard-gate") {
            Ok(())
        } else {
            Err(format!("{names:?} {message}"))
        }
    });
    let agents: Vec<Row> =
        rows.iter().filter(|row| matches!(row.end, End::Agent)).map(|row| row.renamed("beside")).collect();
    judged::all_end_as_the_table_says(installation, &agents);

    // The API server acts on what it has watched: for a moment longer than the others are there.
    drop(others);
    eventually("the others to have left", SOON, || {
        let (names, message) = init_containers_of_an_agent(installation);
        if names == ["egress-guard-gate"] { Ok(()) } else { Err(format!("{names:?} {message}")) }
    });
}

/// As they would be stored, and what the API server says if it refuses.
fn init_containers_of_an_agent(installation: &Installation) -> (Vec<String>, String) {
    let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", installation.plain);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "labels": {"egressguard.io/agent": "chatgpt"}},
        "spec": {"containers": [{"name": "main", "image": "x"}]}});
    let reply = AREA.api.create(&path, &pod);
    let containers = reply.body["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
    let names = containers.iter().filter_map(|container| container["name"].as_str()).map(str::to_owned).collect();
    (names, reply.body["message"].to_string())
}
