//! `GuardNode`: what the guard of one node tells of itself.
//!
//! Cluster-scoped, named as its node, owned by the node's object: it goes when the node goes. One writer each: the guard of that node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::date_time;

/// Addresses that one node may tell of; more are cut off.
pub const MAX_ADDRESSES: usize = 64;

/// Agent pods that one node may tell of; more are cut off. A kubelet's own limit is 110 unless somebody raises it.
pub const MAX_AGENT_PODS: usize = 250;

/// Pods without the label that one node may tell of; more are cut off.
pub const MAX_CLIENTS: usize = 250;

/// What the node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "egressguard.io",
    version = "v1alpha1",
    kind = "GuardNode",
    doc = "What the guard of one node tells of itself. Written by that guard alone.",
    status = "GuardNodeStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Agents", "type": "integer", "jsonPath": ".status.agents"}"#,
    printcolumn = r#"{"name": "Version", "type": "string", "jsonPath": ".status.version"}"#,
    printcolumn = r#"{"name": "Enforcement", "type": "string", "jsonPath": ".status.enforcement"}"#,
    printcolumn = r#"{"name": "Policies", "type": "string", "jsonPath": ".status.policies"}"#,
    printcolumn = r#"{"name": "Certificate until", "type": "string", "jsonPath": ".status.certificateNotAfter"}"#,
    printcolumn = r#"{"name": "Last seen", "type": "date", "jsonPath": ".status.lastSeen"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct GuardNodeSpec {
    /// Every address of the node that a pod elsewhere may reach it by, its Node object's and those of further interfaces. Guards of other
    /// nodes close its kubelet, its etcd and its overlay ports there as well. What is no IP address is ignored.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub addresses: Vec<String>,
}

/// What the guard sees and does there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardNodeStatus {
    /// When the guard wrote this: about once a minute, and when a condition changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_seen: Option<Time>,
    /// The guard's version.
    #[serde(default)]
    pub version: String,
    /// Agent pods that are served.
    #[serde(default)]
    pub agents: i32,
    /// Agent pods that are closed and not served: cut off, refused, or not guarded yet.
    #[serde(default)]
    pub cut_off: i32,
    /// What the filter on pods' veths stands on: `tcx`, or `clsact` on kernels before 6.6.
    #[serde(default)]
    pub enforcement: String,
    /// The policies that decide now, by a digest of their text: nodes that show the same decide the same.
    #[serde(default)]
    pub policies: String,
    /// Until when the certificate shown to agents is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub certificate_not_after: Option<Time>,
    /// `Ready`, `CertificateValid`, `PolicyAccepted`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The agent pods that the guard knows.
    #[serde(default)]
    #[schemars(length(max = 250))]
    pub agent_pods: Vec<AgentPod>,
    /// Pods without the label that were seen to have connections to the API server, for as long as they run.
    #[serde(default)]
    #[schemars(length(max = 250))]
    pub clients: Vec<ApiClient>,
}

/// An agent pod, as the guard of its node has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentPod {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether it is served. If not, it is closed: cut off, refused, or not guarded yet.
    pub guarded: bool,
}

/// A pod without the label that talks to the API server past the guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiClient {
    /// The pod's uid, by which the node knows it: for a static pod, that of its manifest.
    pub uid: String,
    /// Connections to the API server when it was seen last, those included that had ended less than a minute before.
    pub connections: i32,
    /// When that was.
    #[schemars(schema_with = "date_time")]
    pub last_seen: Time,
}

/// One statement on the node's guard: Kubernetes' `metav1.Condition`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word in Kubernetes' style.
    pub reason: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// When `status` changed last.
    #[schemars(schema_with = "date_time")]
    pub last_transition_time: Time,
}

impl GuardNodeStatus {
    /// The condition of this type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}
