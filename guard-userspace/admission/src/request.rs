//! What is judged, and where.

use std::collections::BTreeMap;

use serde_json::Value;

/// Where a pod is, and what it is given there.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// That namespace's labels, as the API server has them now.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// The guard's CA, PEM. Without it no pod passes where the CA comes by annotation.
    pub ca: Option<&'a str>,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Action<'a> {
    /// `CREATE`, `UPDATE`.
    pub(crate) operation: &'a str,
    /// `ephemeralcontainers`, …, or empty.
    pub(crate) sub_resource: &'a str,
    /// Who does it, as the API server calls them.
    pub(crate) user: &'a str,
    /// What it will be.
    pub(crate) object: &'a Value,
    /// What it was; `null` if it is new.
    pub(crate) old: &'a Value,
}
