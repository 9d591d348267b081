//! What leads to an agent pod by another way than its own object: each as CEL, and beside it as it is asked here.

use serde_json::Value;

use crate::expression::quoted;
use crate::facts::{is_gate, list};
use crate::names::{GATE_CONTAINER, UPSTREAM_VOLUME};

/// Prefix of labels and annotations that are the guard's.
const OURS: &str = "egressguard.io/";
/// `type` of a Secret with the token of a `ServiceAccount`.
const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";

pub(crate) const COPY: &str = "the pod has the guard's gate or its volume egress-guard-upstream and no label egressguard.io/agent, as \
     a copy of an agent pod has: kubectl debug --copy-to needs --keep-labels and --share-processes=false; otherwise remove them";
pub(crate) const CONNECTION: &str = "nobody enters the guard's gate: choose another container with --container";
pub(crate) const BINDING: &str = "a Binding gives its labels and annotations to the pod, and those of egressguard.io are the guard's: \
     remove them from the Binding";
pub(crate) const UNLABELLED_TEMPLATE: &str = "the label egressguard.io/agent of a workload makes nobody an agent: put it into the pod \
     template's metadata.labels";
pub(crate) const TOKEN_SECRET: &str = " holds the token of a ServiceAccount, a credential past the guard: remove it from the pod; clients \
     find the pod's token where they look for it";
pub(crate) const TOKEN_SECRET_UNNAMED: &str = "a Secret that the pod uses holds the token of a ServiceAccount, a credential past the \
     guard: remove it from the pod; clients find the pod's token where they look for it";
pub(crate) const NEW_TOKEN_SECRET: &str = "this namespace's pods are agents, which hold no token past the guard: make no Secret of type \
     kubernetes.io/service-account-token here; pods have their own token";

/// A pod with the gate or its volume.
pub(crate) fn is_copy() -> String {
    format!(
        "(has(object.spec.volumes) && object.spec.volumes.exists(v, v.name == {})) || \
         (has(object.spec.initContainers) && object.spec.initContainers.exists(c, c.name == {}))",
        quoted(UPSTREAM_VOLUME),
        quoted(GATE_CONTAINER)
    )
}

pub(crate) fn pod_is_copy(pod: &Value) -> bool {
    list(&pod["spec"]["volumes"]).iter().any(|volume| volume["name"] == UPSTREAM_VOLUME)
        || list(&pod["spec"]["initContainers"]).iter().any(is_gate)
}

/// Options of exec or attach that name the gate. Without a name the API server takes the only container, which is never the gate.
pub(crate) fn enters_gate() -> String {
    format!("has(object.container) && object.container == {}", quoted(GATE_CONTAINER))
}

pub(crate) fn options_enter_gate(options: &Value) -> bool {
    options["container"] == GATE_CONTAINER
}

/// A Binding with labels or annotations of ours.
pub(crate) fn carries_ours() -> String {
    let has = |field: &str| {
        format!("(has(object.metadata.{field}) && object.metadata.{field}.exists(k, k.startsWith({})))", quoted(OURS))
    };
    format!("{} || {}", has("labels"), has("annotations"))
}

pub(crate) fn binding_carries_ours(binding: &Value) -> bool {
    ["labels", "annotations"].iter().any(|field| {
        binding["metadata"][field].as_object().is_some_and(|map| map.keys().any(|key| key.starts_with(OURS)))
    })
}

/// A Secret with a token.
pub(crate) fn is_token_secret() -> String {
    format!("has(object.type) && object.type == {}", quoted(TOKEN_TYPE))
}

pub(crate) fn holds_token(secret: &Value) -> bool {
    secret["type"] == TOKEN_TYPE
}
