//! Who is calling, and with which credential the guard calls on.
//!
//! Two tokens belong to an agent pod. The one it holds has the audience `egressguard.io`: [`TokenVerifier`] checks it, and that
//! it was issued to the very pod that the kernel says is calling, so a stolen one is useless. The other, which the API server
//! accepts, never enters a container of the agent: [`UpstreamToken`] reads it from the kubelet's directory on the node.

#![forbid(unsafe_code)]

mod caller;
mod error;
mod keys;
mod pod;
mod upstream;
mod verifier;
mod workload;

pub use caller::Caller;
pub use error::AuthError;
pub use keys::{KeySource, KeySourceError, MAX_JWKS_LEN};
pub use pod::{InvalidPodUid, PodIdentity, PodUid};
pub use upstream::{UPSTREAM_VOLUME, UpstreamError, UpstreamToken};
pub use verifier::{AGENT_AUDIENCE, DEFAULT_CLOCK_SKEW, TokenVerifier, VerifierOptions, bearer_of};
pub use workload::{AgentClass, InvalidAgentClass, Workload, WorkloadId};

/// Longest bearer token that is looked at, in bytes. A pod's projected token has about 1 KiB.
pub const MAX_TOKEN_LEN: usize = 16 * 1024;
