//! Why a token was refused: to the client, to a metric, and to the person who reads the pod's events.

use thiserror::Error;

/// Why the pod's token was refused.
///
/// The message is for the client and holds nothing of the token; [`AuthError::advice`] is for whoever runs the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// No bearer token came with the request.
    #[error("no bearer token was sent")]
    Missing,
    /// The token is longer than [`crate::MAX_TOKEN_LEN`].
    #[error("the bearer token is longer than {} bytes", crate::MAX_TOKEN_LEN)]
    TooLong,
    /// The token is no JSON Web Token with the claims of a ServiceAccount token.
    #[error("the bearer token is no ServiceAccount token")]
    Malformed,
    /// The token is signed with an algorithm that is not on the list, `none` among them.
    #[error("the bearer token is signed with an algorithm that is not accepted")]
    Algorithm,
    /// The issuer publishes no key with the token's `kid`.
    #[error("the bearer token is signed with a key that its issuer does not publish")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the bearer token's signature does not verify")]
    Signature,
    /// The token was issued by somebody else.
    #[error("the bearer token comes from another issuer")]
    Issuer,
    /// The token is meant for somebody else, the API server for instance.
    #[error("the bearer token is not for the audience of the guard")]
    Audience,
    /// The token's time is over.
    #[error("the bearer token has expired")]
    Expired,
    /// The token's time has not come.
    #[error("the bearer token is not valid yet")]
    NotYetValid,
    /// The token names no pod.
    #[error("the bearer token is not bound to a pod")]
    NotPodBound,
    /// The token was issued to another pod than the one that is calling.
    #[error("the bearer token belongs to another pod")]
    OtherPod,
    /// The issuer's keys could not be fetched, and none are cached.
    #[error("the keys that verify bearer tokens cannot be had at the moment")]
    KeysUnavailable,
}

impl AuthError {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Missing,
        Self::TooLong,
        Self::Malformed,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
        Self::NotPodBound,
        Self::OtherPod,
        Self::KeysUnavailable,
    ];

    /// A label value for metrics: one short word for each variant.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NotPodBound => "not_pod_bound",
            Self::OtherPod => "other_pod",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }

    /// What to do about it: a sentence for the event on the pod.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Missing => {
                "Let the client send the token in /var/run/secrets/kubernetes.io/serviceaccount/token as Authorization: Bearer. \
                 In-cluster configuration does so by itself."
            }
            Self::TooLong | Self::Malformed | Self::Algorithm => {
                "The client sends something other than the token in /var/run/secrets/kubernetes.io/serviceaccount/token. \
                 Look for a kubeconfig or an environment variable in the image that brings credentials of its own."
            }
            Self::UnknownKey | Self::Signature | Self::Issuer => {
                "The token was not issued by this cluster. If it was, compare the guard's issuer with the API server's --service-account-issuer, \
                 and its keys with /openid/v1/jwks."
            }
            Self::Audience => {
                "The pod's token must be a projected ServiceAccount token with the audience egressguard.io alone. \
                 Recreate the pod with its label, so that admission swaps the token."
            }
            Self::Expired => {
                "The client keeps a token past its end. The kubelet renews the file in time: let the client read it again, \
                 as every current Kubernetes client does."
            }
            Self::NotYetValid => {
                "The clock of this node is behind the API server's. Check time synchronisation on both."
            }
            Self::NotPodBound | Self::OtherPod => {
                "The token was issued to somebody other than this pod. Only the token that the kubelet projected into this very pod is accepted; \
                 if nobody copied a token here on purpose, find out who did."
            }
            Self::KeysUnavailable => {
                "The guard cannot fetch the issuer's keys. Check that the API server answers /openid/v1/jwks to the node, \
                 and the log of the guard on this node."
            }
        }
    }
}
