//! What makes an agent pod safe to guard, and what is refused: one source for the cluster's policies, the webhook of
//! `guard control` and the node guard.

#![forbid(unsafe_code)]

mod names;
mod settings;

pub use names::{
    API_ACCESS_PREFIX, AUDIENCE, CA_ANNOTATION, CA_CONFIG_MAP, CA_FILE, CREDENTIALS, GATE_CONTAINER, GATE_CREDENTIALS,
    GATE_USER, GATE_VOLUME, GUARD_PROGRAM, TRUST_BUNDLE, UPSTREAM_MOUNT, UPSTREAM_VOLUME,
};
pub use settings::{
    Class, Gate, GuardServiceAccounts, LeadingInitContainer, LocalObjectReference, Resources, Settings, Trust,
};
