//! The `CustomResourceDefinition` of each kind, from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{GuardNode, GuardPolicyObject};

/// All of the group.
///
/// A structural schema can't refuse unknown fields: the API server prunes them, and tells those who ask it to (`kubectl` does by default).
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![GuardNode::crd(), GuardPolicyObject::crd()]
}
