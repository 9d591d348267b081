//! The certificate that is served now, wherever it comes from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;

use crate::SanName;
use crate::leaf::Leaf;

/// Why a certificate and key cannot be served. What was served before still is.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct UnfitError(String);

/// The guard's certificate and key. Every client gets the same leaf, whatever name it asks for: agents dial the API server by address, which
/// is in the leaf's subject alternative names. Without one, no handshake ends well.
#[derive(Default)]
pub struct Serving {
    current: ArcSwapOption<Leaf>,
}

impl Serving {
    /// Nothing to serve yet.
    pub fn waiting() -> Self {
        Self::default()
    }

    /// Takes over a chain (leaf first) and its key, both PEM, if they belong together and are valid now. Whether it is another than before.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<bool, UnfitError> {
        let leaf =
            Leaf::from_pem(certificate, key, SystemTime::now()).map_err(|error| UnfitError(error.to_string()))?;
        let before = self.current.swap(Some(Arc::new(leaf)));
        let now = self.current.load();
        Ok(now.as_ref().map(|leaf| &leaf.certified.cert) != before.as_ref().map(|leaf| &leaf.certified.cert))
    }

    /// From when until when the certificate being served is valid.
    pub fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        self.current.load().as_ref().map(|leaf| (leaf.facts.not_before, leaf.facts.not_after))
    }

    /// Whether there is a certificate that clients can accept at this time.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.validity().is_some_and(|(from, until)| from <= now && now <= until)
    }

    /// Whom the certificate being served is for.
    pub fn names(&self) -> BTreeSet<SanName> {
        self.current.load().as_ref().map(|leaf| leaf.facts.names.clone()).unwrap_or_default()
    }

    /// Whether a client that trusts these authorities, PEM, and no other accepts the chain being served.
    pub fn is_trusted_by(&self, bundle: &[u8]) -> bool {
        let current = self.current.load();
        let Some((leaf, others)) = current.as_ref().and_then(|leaf| leaf.certified.cert.split_first()) else {
            return false;
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok));
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        ParsedCertificate::try_from(leaf).is_ok_and(|leaf| {
            verify_server_cert_signed_by_trust_anchor(&leaf, &roots, others, UnixTime::now(), algorithms.all).is_ok()
        })
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load().as_ref().map(|leaf| Arc::clone(&leaf.certified))
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("validity", &self.validity()).finish_non_exhaustive()
    }
}
