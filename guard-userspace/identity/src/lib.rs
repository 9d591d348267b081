//! Who is calling, and with which credential the guard calls on.
//!
//! Two tokens belong to an agent pod. The one it holds has the audience `egressguard.io`: [`TokenVerifier`] checks it, and that
//! it was issued to the very pod that the kernel says is calling, so a stolen one is useless. The other, which the API server
//! accepts, never enters a container of the agent: [`UpstreamToken`] reads it from the kubelet's directory on the node.

#![forbid(unsafe_code)]

mod caller;
mod error;
mod pod;
mod workload;

pub use caller::Caller;
pub use error::AuthError;
pub use pod::{InvalidPodUid, PodIdentity, PodUid};
pub use workload::{AgentClass, InvalidAgentClass, Workload, WorkloadId};

/// Longest bearer token that is looked at, in bytes. A pod's projected token has about 1 KiB.
pub const MAX_TOKEN_LEN: usize = 16 * 1024;
