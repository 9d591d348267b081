//! Pieces of `OpenAPI` schemas that a type alone does not say.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Any value: what it means is checked where it is compiled.
pub(crate) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// A time as Kubernetes writes it (RFC 3339).
#[cfg(feature = "kube")]
pub(crate) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}
