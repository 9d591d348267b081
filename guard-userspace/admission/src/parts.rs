//! What admission adds to an agent pod, written once: a template that becomes JSON here and CEL for the API server.

use serde_json::{Value, json};

use crate::expression::{Facts, Term, literal, quoted, settings};
use crate::names::{
    AUDIENCE, CA_ANNOTATION, CA_FILE, GATE_CONTAINER, GATE_CREDENTIALS, GATE_USER, GATE_VOLUME, GUARD_PROGRAM,
    TRUST_BUNDLE, UPSTREAM_MOUNT, UPSTREAM_VOLUME,
};

/// JSON with places for settings.
#[derive(Debug, Clone)]
pub(crate) enum Template {
    Fixed(Value),
    Setting(Term),
    Object(Vec<(&'static str, Template)>),
    List(Vec<Template>),
    /// The first where the CA comes by annotation, else the second.
    ByAnnotation(Box<Template>, Box<Template>),
}

use Template::{ByAnnotation, Fixed, List, Object, Setting};

impl Template {
    /// The expression that makes it, with the variable `settings`.
    pub(crate) fn cel(&self) -> String {
        match self {
            Fixed(value) => literal(value),
            Setting(term) => term.cel_or("dyn(null)"),
            Object(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, part)| format!("{}: dyn({})", quoted(name), part.cel())).collect();
                format!("{{{}}}", fields.join(", "))
            }
            List(items) => {
                let items: Vec<String> = items.iter().map(|part| format!("dyn({})", part.cel())).collect();
                format!("[{}]", items.join(", "))
            }
            ByAnnotation(one, other) => {
                format!("({} ? dyn({}) : dyn({}))", by_annotation().cel(), one.cel(), other.cel())
            }
        }
    }

    /// The JSON itself.
    pub(crate) fn json(&self, facts: &Facts) -> Value {
        match self {
            Fixed(value) => value.clone(),
            Setting(term) => term.find(facts).cloned().unwrap_or(Value::Null),
            Object(fields) => fields.iter().map(|(name, part)| ((*name).to_owned(), part.json(facts))).collect(),
            List(items) => items.iter().map(|part| part.json(facts)).collect(),
            ByAnnotation(one, other) => if by_annotation().holds(facts) { one } else { other }.json(facts),
        }
    }
}

/// Whether the CA comes by annotation.
pub(crate) fn by_annotation() -> crate::expression::Test {
    settings("trust").is("Annotation")
}

/// The gate. No shell is in its image, and nothing that an agent's author writes gets into it.
pub(crate) fn gate() -> Template {
    Object(vec![
        ("name", Fixed(GATE_CONTAINER.into())),
        ("image", Setting(settings("gate.image"))),
        ("imagePullPolicy", Setting(settings("gate.imagePullPolicy"))),
        ("command", Fixed(command())),
        ("resources", Setting(settings("gate.resources"))),
        ("securityContext", Fixed(security_context())),
        (
            "volumeMounts",
            Fixed(json!([
                {"name": UPSTREAM_VOLUME, "mountPath": UPSTREAM_MOUNT, "readOnly": true},
                {"name": GATE_VOLUME, "mountPath": GATE_CREDENTIALS, "readOnly": true},
            ])),
        ),
    ])
}

/// What the gate runs.
pub(crate) fn command() -> Value {
    json!([GUARD_PROGRAM, "gate", "--credentials", GATE_CREDENTIALS])
}

/// As Pod Security's `restricted` wants it, and more.
pub(crate) fn security_context() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsGroup": GATE_USER,
        "runAsNonRoot": true,
        "runAsUser": GATE_USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The pod's own token for the API server. Root's alone, so not even the gate reads it; the node guard does, on the node. 3607 s would
/// be stretched to a year (the API server takes it for its own injected token).
pub(crate) fn upstream_volume() -> Template {
    Object(vec![
        ("name", Fixed(UPSTREAM_VOLUME.into())),
        (
            "projected",
            Fixed(json!({
                "defaultMode": 0o400,
                "sources": [{"serviceAccountToken": {"expirationSeconds": 3600, "path": "token"}}],
            })),
        ),
    ])
}

/// What the gate proves its pod with: its own, since an agent pod may have no token, and for whatever uid the pod's files are.
pub(crate) fn gate_volume() -> Template {
    Object(vec![
        ("name", Fixed(GATE_VOLUME.into())),
        ("projected", Object(vec![("defaultMode", Fixed(0o444.into())), ("sources", credentials())])),
    ])
}

/// What clients find where they look for their credentials.
pub(crate) fn credentials() -> Template {
    let field = |path: &str, field: &str| {
        Fixed(json!({"downwardAPI": {"items": [{"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": field}}]}}))
    };
    List(vec![
        Fixed(json!({"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 3600, "path": "token"}})),
        ByAnnotation(
            Box::new(field(CA_FILE, &format!("metadata.annotations['{CA_ANNOTATION}']"))),
            Box::new(Fixed(json!({"clusterTrustBundle": {"name": TRUST_BUNDLE, "path": CA_FILE}}))),
        ),
        field("namespace", "metadata.namespace"),
    ])
}
