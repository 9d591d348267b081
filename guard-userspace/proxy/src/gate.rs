//! The question that a pod's gate asks before any container of the agent starts: is this pod guarded?

use std::net::SocketAddr;

use async_trait::async_trait;
use guard_identity::Workload;
use serde::{Deserialize, Serialize};

/// Where the guard itself answers [`GateProof`] to an authenticated `GET`. Nothing under `/egressguard.io/` is forwarded.
pub const GATE_PATH: &str = "/egressguard.io/v1/gate";

/// The paths that are the guard's own.
pub(crate) const OWN_PREFIX: &str = "/egressguard.io/";

/// What the node guard has put in place for the pod that asks, and what the gate must find refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateProof {
    /// `metadata.namespace` of the pod that the guard serves on this listener.
    pub namespace: String,
    /// `metadata.name` of that pod.
    pub pod: String,
    /// `metadata.uid` of that pod; the gate compares it with its own.
    pub uid: String,
    /// The agent class.
    pub class: String,
    /// The node's name.
    pub node: String,
    /// Names of the hooks that are attached for this pod (`connect4`, `egress`, `tcx`, ...).
    pub hooks: Vec<String>,
    /// Raw packets to the control-plane set that the guard injected into the pod's namespace for this answer.
    pub packets_injected: u64,
    /// How many of those the kernel programs counted as dropped. Enforced only if it equals `packets_injected`.
    pub packets_dropped: u64,
    /// Addresses of the set that a datagram or a connect of the gate must not reach: endpoints, the kubelet, etcd.
    pub refused: Vec<SocketAddr>,
}

/// Proves enforcement to a pod.
#[async_trait]
pub trait GateService: Send + Sync {
    /// What is in place for `workload`, looked at now.
    ///
    /// # Errors
    /// A sentence that says what is open; the pod does not start.
    async fn prove(&self, workload: &Workload) -> Result<GateProof, String>;
}
