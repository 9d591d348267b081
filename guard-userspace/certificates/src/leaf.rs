//! A certificate chain with its key, checked.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::SanName;

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

/// What TLS needs, and what it says of itself.
pub(crate) struct Leaf {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) facts: Facts,
}

impl Leaf {
    /// Reads a chain (leaf first) and its key, both PEM, and checks that they belong together and are valid at `now`.
    pub(crate) fn from_pem(certificate: &[u8], key: &[u8], now: SystemTime) -> Result<Self, LeafError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| LeafError::NoCertificate)?;
        let first = chain.first().ok_or(LeafError::NoCertificate)?;
        let facts = valid_at(first, now)?;

        let key = Zeroizing::new(PrivateKeyDer::from_pem_slice(key).map_err(|_| LeafError::NoKey)?);
        let key = any_supported_type(&key).map_err(LeafError::UnusableKey)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self { certified: Arc::new(certified), facts }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(LeafError::KeyMismatch),
            Err(error) => Err(LeafError::UnusableKey(error)),
        }
    }
}

/// What a certificate says of itself.
pub(crate) struct Facts {
    pub(crate) common_name: String,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// DER.
    pub(crate) public_key_info: Vec<u8>,
    pub(crate) names: BTreeSet<SanName>,
}

impl Facts {
    /// Of the first certificate in PEM.
    pub(crate) fn from_pem(certificate: &[u8]) -> Result<Self, LeafError> {
        let first = CertificateDer::from_pem_slice(certificate).map_err(|_| LeafError::NoCertificate)?;
        Self::of(&first)
    }

    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, LeafError> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| LeafError::NotX509)?;
        // Before 1970 is long ago in any case.
        let time = |timestamp: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(timestamp).unwrap_or_default());
        let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let names = parsed.subject_alternative_name().ok().flatten();
        Ok(Self {
            common_name: common_name.unwrap_or_default().to_owned(),
            not_before: time(parsed.validity().not_before.timestamp()),
            not_after: time(parsed.validity().not_after.timestamp()),
            public_key_info: parsed.public_key().raw.to_vec(),
            names: names.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect(),
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<SanName> {
    match name {
        GeneralName::DNSName(name) => Some(SanName::Dns((*name).to_owned())),
        GeneralName::IPAddress(octets) => <[u8; 4]>::try_from(*octets)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from))
            .ok()
            .map(SanName::Ip),
        _ => None,
    }
}

fn valid_at(certificate: &CertificateDer<'_>, now: SystemTime) -> Result<Facts, LeafError> {
    let facts = Facts::of(certificate)?;
    if let Ok(until) = facts.not_before.duration_since(now)
        && !until.is_zero()
    {
        return Err(LeafError::NotYetValid(until));
    }
    match now.duration_since(facts.not_after) {
        Ok(since) if !since.is_zero() => Err(LeafError::Expired(since)),
        _ => Ok(facts),
    }
}
