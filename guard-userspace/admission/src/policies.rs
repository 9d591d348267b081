//! The rules as objects of the API server: policies, bindings, and webhook configurations where a cluster lacks the policies.

mod others;
mod secrets;
mod webhooks;

use guard_api::AGENT_LABEL;
use serde_json::{Value, json};

use crate::expression::literal;
use crate::facts::{self, Variable};
use crate::mutation;
use crate::names::{CA_CONFIG_MAP, CA_FILE};
use crate::rules::{self, Rule, When};
use crate::settings::Settings;

pub use webhooks::{Client, mutating_webhooks, validating_webhooks};

const VERSION: &str = "admissionregistration.k8s.io/v1";
/// What binds an agent pod to its rules: its own label, or its namespace's.
const BINDINGS: [(&str, Selects); 2] = [("labelled", Selects::Label), ("namespaces", Selects::Namespace)];

/// What the texts of the objects say where the settings differ: CEL and values, or what a template engine makes them of.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// CEL of the settings as a map.
    pub settings: String,
    /// The guard's namespace.
    pub guard_namespace: String,
    /// Namespaces whose label makes nobody an agent: a list, or a text that becomes one.
    pub exempt_namespaces: Value,
}

impl Inputs {
    /// With the settings themselves.
    pub fn of(settings: &Settings) -> Self {
        Self {
            settings: facts::settings_cel(settings),
            guard_namespace: settings.guard_namespace.clone(),
            exempt_namespaces: json!(settings.exempt_namespaces),
        }
    }
}

#[derive(Clone, Copy)]
enum Selects {
    Label,
    Namespace,
}

/// What agent pods are made safe by: `MutatingAdmissionPolicy` and its bindings.
pub fn mutating(inputs: &Inputs) -> Vec<Value> {
    let name = "egress-guard-pods";
    let changes = mutation::changes();
    let spec = mutating_spec(
        &changes,
        &facts::of_pods(&inputs.settings),
        &json!([
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]},
        ]),
    );
    let mut objects = vec![object("MutatingAdmissionPolicy", name, &spec)];
    objects.extend(bindings("MutatingAdmissionPolicyBinding", name, &json!({}), inputs));
    objects
}

/// What stamps the CA on agent pods where it comes by annotation. Of its own: it has a parameter, and what lacks it is refused.
pub fn mutating_ca(inputs: &Inputs) -> Vec<Value> {
    let name = "egress-guard-ca";
    let created = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);
    let mut spec = mutating_spec(&[mutation::ca()], &facts::of_pods(&inputs.settings), &created);
    spec["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let mut objects = vec![object("MutatingAdmissionPolicy", name, &spec)];
    objects.extend(bindings("MutatingAdmissionPolicyBinding", name, &ca_parameter(inputs), inputs));
    objects
}

/// What the stored pod is held to, whoever changed it in which order.
pub fn validating(inputs: &Inputs) -> Vec<Value> {
    let mut objects = pods(inputs);
    objects.extend(others::copies(inputs));
    objects.extend(others::connections());
    objects.extend(others::scheduling());
    objects.extend(others::templates(inputs));
    objects.extend(others::guard_nodes(inputs));
    objects.extend(secrets::mounted(inputs));
    objects.extend(secrets::created(inputs));
    objects
}

/// What holds the stamped CA to the published one, where it comes by annotation.
pub fn validating_ca(inputs: &Inputs) -> Vec<Value> {
    let name = "egress-guard-ca";
    let mut variables = facts::of_pods(&inputs.settings);
    variables.push(("ca", format!("dyn(params.data[{}])", literal(&CA_FILE.into()))));
    let spec = json!({
        "failurePolicy": "Fail",
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
        ]},
        "variables": named(&variables),
        "validations": validations(&rules::about_ca()),
    });
    let mut objects = vec![object("ValidatingAdmissionPolicy", name, &spec)];
    let more = merged(&ca_parameter(inputs), &json!({"validationActions": ["Deny"]}));
    objects.extend(bindings("ValidatingAdmissionPolicyBinding", name, &more, inputs));
    objects
}

fn pods(inputs: &Inputs) -> Vec<Value> {
    let name = "egress-guard-pods";
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["pods", "pods/status", "pods/ephemeralcontainers", "pods/resize"],
        }]},
        "variables": named(&facts::of_pods(&inputs.settings)),
        "validations": validations(&rules::all()),
    });
    let mut objects = vec![object("ValidatingAdmissionPolicy", name, &spec)];
    objects.extend(bindings("ValidatingAdmissionPolicyBinding", name, &json!({"validationActions": ["Deny"]}), inputs));
    objects
}

fn mutating_spec(changes: &[String], variables: &[Variable], rules: &Value) -> Value {
    let mutations: Vec<Value> =
        changes.iter().map(|change| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": change}})).collect();
    json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": {"resourceRules": rules},
        "variables": named(variables),
        "mutations": mutations,
    })
}

/// No pod passes without it: where it is missing, `guard control` has not run yet.
fn ca_parameter(inputs: &Inputs) -> Value {
    json!({"paramRef": {
        "name": CA_CONFIG_MAP,
        "namespace": inputs.guard_namespace,
        "parameterNotFoundAction": "Deny",
    }})
}

/// Two, so that nobody else's pods are matched: what fails here fails for agents alone.
fn bindings(kind: &str, policy: &str, more: &Value, inputs: &Inputs) -> Vec<Value> {
    BINDINGS
        .map(|(suffix, selects)| {
            let spec = merged(&json!({"policyName": policy, "matchResources": selects.selectors(inputs)}), more);
            object(kind, &format!("{policy}-{suffix}"), &spec)
        })
        .into()
}

impl Selects {
    fn selectors(self, inputs: &Inputs) -> Value {
        match self {
            Selects::Label => {
                json!({"objectSelector": {"matchExpressions": [{"key": AGENT_LABEL, "operator": "Exists"}]}})
            }
            Selects::Namespace => json!({"namespaceSelector": {"matchExpressions": [
                {"key": AGENT_LABEL, "operator": "Exists"},
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": inputs.exempt_namespaces},
            ]}}),
        }
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    // Without it a refusal is told as 422 Invalid, as if the API server didn't understand the object.
    for validation in spec.get_mut("validations").and_then(Value::as_array_mut).into_iter().flatten() {
        validation["reason"] = json!("Forbidden");
    }
    json!({"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A binding that matches whatever its policy does.
fn bound_everywhere(name: &str, action: &str) -> Value {
    object("ValidatingAdmissionPolicyBinding", name, &json!({"policyName": name, "validationActions": [action]}))
}

fn named(variables: &[Variable]) -> Vec<Value> {
    variables.iter().map(|(name, expression)| json!({"name": name, "expression": expression})).collect()
}

fn validations(rules: &[Rule]) -> Vec<Value> {
    rules.iter().map(|rule| validation(rule, applies(rule).as_deref())).collect()
}

/// On which occasions, as CEL; `None`: none of a policy on pods.
fn applies(rule: &Rule) -> Option<String> {
    let facts: Vec<String> =
        rule.when.iter().filter_map(|when| When::fact(*when)).map(|fact| format!("variables.{fact}")).collect();
    (!facts.is_empty()).then(|| facts.join(" || "))
}

fn validation(rule: &Rule, applies: Option<&str>) -> Value {
    let expression = match applies {
        Some(applies) => format!("!({applies}) || {}", rule.expression()),
        None => rule.expression(),
    };
    let mut validation = json!({"expression": expression, "message": rule.message});
    if let Some(message) = rule.message_expression() {
        validation["messageExpression"] = json!(message);
    }
    validation
}

fn merged(one: &Value, other: &Value) -> Value {
    let mut merged = one.clone();
    for (name, value) in other.as_object().into_iter().flatten() {
        merged[name] = value.clone();
    }
    merged
}
