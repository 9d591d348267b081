//! Policies on what leads to an agent pod by another way than its own object.

use guard_api::{AGENT_LABEL, GROUP};
use serde_json::{Value, json};

use super::{Inputs, bound_everywhere, named, object, validation};
use crate::expression::quoted;
use crate::facts;
use crate::live;
use crate::rules::{self, When};

/// Pods that are no agents and hold what admission made for one.
pub(super) fn copies(inputs: &Inputs) -> Vec<Value> {
    let name = "egress-guard-copies";
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
        ]},
        "matchConditions": [{"name": "holds-what-is-the-gates", "expression": live::is_copy()}],
        "variables": named(&facts::of_pods(&inputs.settings)),
        "validations": [{"expression": "variables.created", "message": live::COPY}],
    });
    vec![object("ValidatingAdmissionPolicy", name, &spec), bound_everywhere(name, "Deny")]
}

/// Exec and attach into the gate.
pub(super) fn connections() -> Vec<Value> {
    let name = "egress-guard-connections";
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/exec", "pods/attach"]},
        ]},
        "validations": [{"expression": format!("!({})", live::enters_gate()), "message": live::CONNECTION}],
    });
    vec![object("ValidatingAdmissionPolicy", name, &spec), bound_everywhere(name, "Deny")]
}

/// Bindings, whose labels and annotations become the pod's.
pub(super) fn scheduling() -> Vec<Value> {
    let name = "egress-guard-bindings";
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/binding", "bindings"]},
        ]},
        "validations": [{"expression": format!("!({})", live::carries_ours()), "message": live::BINDING}],
    });
    vec![object("ValidatingAdmissionPolicy", name, &spec), bound_everywhere(name, "Deny")]
}

/// Workloads of agents: told when they are applied, not only when their pods fail. Nobody is refused, whatever goes wrong here.
pub(super) fn templates(inputs: &Inputs) -> Vec<Value> {
    let name = "egress-guard-templates";
    let mut variables = facts::of_templates(&inputs.settings);
    variables.push(("agent", format!("variables.now || {}", facts::namespace_class().present().cel())));
    let label = quoted(AGENT_LABEL);
    let mut validations = vec![json!({
        "expression": format!("variables.agent || !object.metadata.?labels[?{label}].hasValue()"),
        "message": live::UNLABELLED_TEMPLATE,
    })];
    let rules = rules::all();
    let of_templates = rules.iter().filter(|rule| rule.when.contains(&When::Template));
    validations.extend(of_templates.map(|rule| validation(rule, Some("variables.agent"))));
    let spec = json!({
        "failurePolicy": "Ignore",
        "matchConstraints": {"resourceRules": [
            {
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["replicationcontrollers", "podtemplates"],
            },
            {
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["deployments", "statefulsets", "daemonsets", "replicasets"],
            },
            {
                "apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["jobs", "cronjobs"],
            },
        ]},
        "variables": named(&variables),
        "validations": validations,
    });
    vec![object("ValidatingAdmissionPolicy", name, &spec), bound_everywhere(name, "Warn")]
}

/// A node's state is written by the guard of that node alone.
pub(super) fn guard_nodes(inputs: &Inputs) -> Vec<Value> {
    let name = "egress-guard-nodes";
    let node = "request.userInfo.?extra[?\"authentication.kubernetes.io/node-name\"].orValue([])";
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{
            "apiGroups": [GROUP],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": ["guardnodes", "guardnodes/status"],
        }]},
        "variables": [{"name": "settings", "expression": inputs.settings}],
        "validations": [{
            "expression": format!(
                "request.userInfo.username != variables.settings.guardServiceAccounts.node || request.name in {node}"
            ),
            "message": "the guard of a node writes the GuardNode of its own node alone: check that its token is bound to its pod \
                        (Kubernetes 1.30 and newer put the node's name into it)",
        }],
    });
    vec![object("ValidatingAdmissionPolicy", name, &spec), bound_everywhere(name, "Deny")]
}
