//! What makes an agent pod safe to guard, and what is refused: one source for the cluster's policies, the webhook of
//! `guard control` and the node guard.
//!
//! [`policies`] makes the objects of the API server, [`webhook`] answers where the cluster lacks them, [`judge`] is the node guard's
//! own look at the stored pod: a policy whose binding is missing is ignored in silence, and static pods never meet admission.

#![forbid(unsafe_code)]

mod expression;
mod facts;
mod live;
mod mutation;
mod names;
mod parts;
pub mod policies;
mod request;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
pub mod webhook;

use serde_json::Value;

pub use names::{
    API_ACCESS_PREFIX, AUDIENCE, CA_ANNOTATION, CA_CONFIG_MAP, CA_FILE, CREDENTIALS, GATE_CONTAINER, GATE_CREDENTIALS,
    GATE_USER, GATE_VOLUME, GUARD_PROGRAM, TRUST_BUNDLE, UPSTREAM_MOUNT, UPSTREAM_VOLUME,
};
pub use request::Place;
pub use rules::Violation;
pub use settings::{
    Class, Gate, GuardServiceAccounts, LeadingInitContainer, LocalObjectReference, Resources, Settings, Trust,
};

/// What is wrong with a stored agent pod. Nothing is, if it is no agent's.
///
/// A pod that was labelled late has no gate and is found wanting for that. Gates of other versions are as good as this one's.
pub fn judge(settings: &Settings, place: &Place<'_>, pod: &Value) -> Vec<Violation> {
    rules::broken(&facts::pod_facts(settings, place, &creation(pod)))
}

/// JSON Patch that makes a new agent pod safe to guard.
pub fn mutate(settings: &Settings, place: &Place<'_>, pod: &Value) -> Vec<Value> {
    mutation::patch(pod, &mutation::mutated(settings, place, &creation(pod)))
}

/// The class of a pod: its own label's value, else its namespace's unless that is exempt. `None`: it is no agent.
pub fn class_of(settings: &Settings, place: &Place<'_>, pod: &Value) -> Option<String> {
    let facts = facts::pod_facts(settings, place, &creation(pod));
    facts.is("created").then(|| facts.get("class").as_str().unwrap_or_default().to_owned())
}

fn creation(pod: &Value) -> request::Action<'_> {
    request::Action { operation: "CREATE", sub_resource: "", user: "", object: pod, old: &Value::Null }
}
