//! The objects of the API group `egressguard.io`, and the names that other parts agree on.
//!
//! Types only: what a policy means is decided where it is compiled.

#![forbid(unsafe_code)]

#[cfg(feature = "kube")]
mod crds;
#[cfg(feature = "kube")]
mod guard_node;
mod guard_policy;
mod schema;

#[cfg(feature = "kube")]
pub use crds::crds;
#[cfg(feature = "kube")]
pub use guard_node::{
    AgentPod, ApiClient, Condition, GuardNode, GuardNodeSpec, GuardNodeStatus, MAX_ADDRESSES, MAX_AGENT_PODS,
    MAX_CLIENTS,
};
#[cfg(feature = "kube")]
pub use guard_policy::GuardPolicyObject;
pub use guard_policy::{Action, GuardPolicy, GuardPolicySpec, LabelSelector, Match, Metadata, Mode, Rule, Subject};

/// The API group.
pub const GROUP: &str = "egressguard.io";
/// `apiVersion` of everything in the group.
pub const API_VERSION: &str = "egressguard.io/v1alpha1";
/// `kind` of a policy.
pub const GUARD_POLICY_KIND: &str = "GuardPolicy";
/// Label that makes a pod, or all pods of a namespace, agent pods; its value names the agent class.
pub const AGENT_LABEL: &str = "egressguard.io/agent";
