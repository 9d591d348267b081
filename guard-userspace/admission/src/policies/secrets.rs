//! Token Secrets: a pod says only the name of a Secret, so the API server is given each Secret of the namespace as a parameter.
//!
//! It reads them from its own cache; nobody gets a right to read Secrets. What this can't see is a Secret that is made after the pod: in a
//! namespace that is labelled, none is made; elsewhere the pod that names it waits for it, and gets it.

use serde_json::{Value, json};

use super::{Inputs, Selects, bindings, facts, named, object};
use crate::live;

/// Agent pods that name a Secret with a ServiceAccount's token.
pub(super) fn mounted(inputs: &Inputs) -> Vec<Value> {
    let name = "egress-guard-token-secrets";
    let named_by = |container: &str| {
        format!(
            "variables.containers.exists(c, c.?env.orValue(dyn([])).exists(e, e.?valueFrom.?secretKeyRef.?name.orValue(dyn(\"\")) == {container}) || \
             c.?envFrom.orValue(dyn([])).exists(e, e.?secretRef.?name.orValue(dyn(\"\")) == {container}))"
        )
    };
    let secret = "params.metadata.name";
    let volumes = format!(
        "variables.volumes.exists(v, v.?secret.?secretName.orValue(dyn(\"\")) == {secret} || \
         v.?projected.?sources.orValue(dyn([])).exists(s, s.?secret.?name.orValue(dyn(\"\")) == {secret}))"
    );
    let spec = json!({
        "failurePolicy": "Fail",
        "paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]},
        ]},
        "variables": named(&facts::of_pods(&inputs.settings)),
        "validations": [{
            "expression": format!(
                "!(variables.created || variables.ephemeral) || params.?type.orValue(\"\") != \"kubernetes.io/service-account-token\" || \
                 !({volumes} || {})",
                named_by(secret)
            ),
            "messageExpression": format!("\"the Secret \" + params.metadata.name + {}", crate::expression::quoted(live::TOKEN_SECRET)),
            "message": live::TOKEN_SECRET_UNNAMED,
        }],
    });
    let more = json!({
        "validationActions": ["Deny"],
        "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"},
    });
    let mut objects = vec![object("ValidatingAdmissionPolicy", name, &spec)];
    objects.extend(bindings("ValidatingAdmissionPolicyBinding", name, &more, inputs));
    objects
}

/// Token Secrets that are made in agents' namespaces.
pub(super) fn created(inputs: &Inputs) -> Vec<Value> {
    let name = "egress-guard-new-token-secrets";
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]},
        ]},
        "validations": [{"expression": format!("!({})", live::is_token_secret()), "message": live::NEW_TOKEN_SECRET}],
    });
    let binding = json!({
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": Selects::Namespace.selectors(inputs),
    });
    vec![object("ValidatingAdmissionPolicy", name, &spec), object("ValidatingAdmissionPolicyBinding", name, &binding)]
}
