//! What this pod holds: the guard's CA and a token.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use zeroize::Zeroizing;

/// The pod's credentials.
pub(super) struct Identity {
    /// Whom the pod's clients trust: the guard's CA.
    pub(super) roots: RootCertStore,
    pub(super) token: Zeroizing<String>,
    /// The pod that the token was issued to.
    pub(super) pod_uid: String,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    pod: Pod,
}

#[derive(Deserialize)]
struct Pod {
    uid: String,
}

impl Identity {
    /// Reads the files where every client looks for them.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let ca = directory.join("ca.crt");
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&ca).with_context(|| format!("reading {}", ca.display()))? {
            let certificate =
                certificate.with_context(|| format!("{} is no bundle of PEM certificates", ca.display()))?;
            roots.add(certificate).with_context(|| format!("a certificate in {} can't be used", ca.display()))?;
        }
        ensure!(!roots.is_empty(), "{} holds no certificate", ca.display());
        let file = directory.join("token");
        let text = Zeroizing::new(fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?);
        let token = Zeroizing::new(text.trim().to_owned());
        let pod_uid = pod_uid(&token).with_context(|| format!("{} holds no token bound to a pod", file.display()))?;
        Ok(Self { roots, token, pod_uid })
    }
}

/// Read, not verified: that is the guard's to do. This pod only compares it with what the guard says.
fn pod_uid(token: &str) -> Result<String> {
    let claims = token.split('.').nth(1).context("it has no claims")?;
    let claims = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(claims).context("its claims are not base64url")?);
    let claims: Claims = serde_json::from_slice(&claims).context("its claims name no pod")?;
    Ok(claims.kubernetes.pod.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_pod_is_read_from_the_token() {
        assert_eq!(pod_uid(&token(r#"{"kubernetes.io":{"pod":{"name":"bot","uid":"4c0f-1"}}}"#)).unwrap(), "4c0f-1");
    }

    #[test]
    fn a_token_of_no_pod_is_told_apart() {
        for token in [String::new(), "a.b".to_owned(), token("{}"), token(r#"{"kubernetes.io":{}}"#)] {
            assert!(pod_uid(&token).is_err(), "{token}");
        }
    }
}
