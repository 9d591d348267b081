//! A certificate chain with its key, checked.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// Why certificate and key cannot serve.
#[derive(Debug, Error)]
pub(crate) enum LeafError {
    #[error("there is no certificate in PEM (BEGIN CERTIFICATE)")]
    NoCertificate,
    #[error("there is no private key in PEM (BEGIN PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, not encrypted)")]
    NoKey,
    #[error("the first certificate is no X.509 certificate")]
    NotX509,
    #[error("the private key is of a kind that TLS cannot use: {0}")]
    UnusableKey(rustls::Error),
    #[error("the private key is not that of the first certificate")]
    KeyMismatch,
    #[error("the certificate expired {} s ago", .0.as_secs())]
    Expired(Duration),
    #[error("the certificate is valid only in {} s; check the clock of this node", .0.as_secs())]
    NotYetValid(Duration),
}

/// What TLS needs, and until when it may.
pub(crate) struct Leaf {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) not_after: SystemTime,
}

impl Leaf {
    /// Reads a chain (leaf first) and its key, both PEM, and checks that they belong together and are valid at `now`.
    pub(crate) fn from_pem(certificate: &[u8], key: &[u8], now: SystemTime) -> Result<Self, LeafError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| LeafError::NoCertificate)?;
        let first = chain.first().ok_or(LeafError::NoCertificate)?;
        let not_after = valid_until(first, now)?;

        let key = Zeroizing::new(PrivateKeyDer::from_pem_slice(key).map_err(|_| LeafError::NoKey)?);
        let key = any_supported_type(&key).map_err(LeafError::UnusableKey)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self { certified: Arc::new(certified), not_after }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(LeafError::KeyMismatch),
            Err(error) => Err(LeafError::UnusableKey(error)),
        }
    }
}

fn valid_until(certificate: &CertificateDer<'_>, now: SystemTime) -> Result<SystemTime, LeafError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| LeafError::NotX509)?;
    let [not_before, not_after] = [parsed.validity().not_before, parsed.validity().not_after].map(|time| {
        // Before 1970 is long ago in any case.
        UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
    });
    if let Ok(until) = not_before.duration_since(now)
        && !until.is_zero()
    {
        return Err(LeafError::NotYetValid(until));
    }
    match now.duration_since(not_after) {
        Ok(since) if !since.is_zero() => Err(LeafError::Expired(since)),
        _ => Ok(not_after),
    }
}
