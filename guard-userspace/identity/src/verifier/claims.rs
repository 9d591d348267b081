//! What a ServiceAccount token says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::caller::Caller;
use crate::error::AuthError;
use crate::workload::Workload;

/// `iss` alone, read before the signature is checked.
#[derive(Deserialize)]
pub(super) struct Issuer {
    pub(super) iss: String,
}

/// The claims that decide; others are ignored.
#[derive(Deserialize)]
pub(super) struct Claims {
    aud: Audience,
    pub(super) exp: u64,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

/// RFC 7519, 4.1.3: one string, or an array of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// The private claim of the API server's `TokenRequest`.
#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Reference,
    pod: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    uid: String,
}

/// The `alg` of a header that the library could not read.
#[derive(Deserialize)]
struct AlgorithmName {
    #[serde(rename = "alg")]
    _alg: String,
}

impl Claims {
    pub(super) fn has_only_audience(&self, audience: &str) -> bool {
        match &self.aud {
            Audience::One(only) => only == audience,
            Audience::Many(all) => matches!(all.as_slice(), [only] if only == audience),
        }
    }

    /// The identity, if the token was issued to the pod of `workload`.
    pub(super) fn caller_for(&self, workload: &Workload) -> Result<Caller, AuthError> {
        let kubernetes = self.kubernetes.as_ref().ok_or(AuthError::NotPodBound)?;
        let bound_to = kubernetes.pod.as_ref().ok_or(AuthError::NotPodBound)?;
        let pod = &workload.pod;
        let own = bound_to.uid == pod.uid.as_str()
            && bound_to.name == pod.name
            && kubernetes.namespace == pod.namespace
            && kubernetes.serviceaccount.name == pod.service_account;
        if !own {
            return Err(AuthError::OtherPod);
        }
        let caller = Caller::service_account(&pod.namespace, &pod.service_account, &kubernetes.serviceaccount.uid);
        // The issuer writes both; a difference means that we do not understand its tokens.
        if self.sub == caller.username { Ok(caller) } else { Err(AuthError::Malformed) }
    }
}

/// Tells a token whose algorithm the library does not know (`none`, ES512) from text that is no token.
pub(super) fn unknown_algorithm(token: &str) -> AuthError {
    let header = token.split('.').next().unwrap_or_default();
    let readable =
        URL_SAFE_NO_PAD.decode(header).is_ok_and(|json| serde_json::from_slice::<AlgorithmName>(&json).is_ok());
    let three_parts = token.split('.').count() == 3;
    if readable && three_parts { AuthError::Algorithm } else { AuthError::Malformed }
}
