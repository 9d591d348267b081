//! A certificate authority in memory: what it signs is worth something only to who was given its certificate.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::server::ResolvesServerCert;
use rustls::sign::SingleCertAndKey;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::leaf;

/// How long an authority in memory lives: longer than any process that has one, and leaves end with it.
const AUTHORITY_VALIDITY: Duration = Duration::from_hours(365 * 24);
/// Certificates begin this long before they are made: clocks differ.
const BACKDATED: Duration = Duration::from_mins(5);

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A leaf without names is nobody's.
    #[error("a leaf needs at least one name or address to be for")]
    NoName,
    /// No DNS name.
    #[error("{0:?} is neither an IP address nor a DNS name in ASCII")]
    Name(String),
    /// Beyond what certificates can say.
    #[error("{} days from now is no time that a certificate can end at", .0.as_secs() / 86400)]
    Validity(Duration),
    /// Key or signature could not be made.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// Made, and not fit to serve.
    #[error("the certificate that was made cannot serve: {0}")]
    Unfit(String),
}

/// Whom a leaf is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SanName {
    /// `kubernetes.default.svc`.
    Dns(String),
    /// `10.96.0.1`: clients dial the API server by address.
    Ip(IpAddr),
}

/// Signs leaves. Its key never leaves it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    not_after: SystemTime,
}

/// A leaf with its key.
pub struct Leaf {
    certificate_pem: String,
    key_pem: Zeroizing<String>,
}

impl Authority {
    /// A new authority with a new key (ECDSA, P-256).
    pub fn new_in_memory() -> Result<Self, AuthorityError> {
        let now = SystemTime::now();
        let not_after = now + AUTHORITY_VALIDITY;
        let mut params = params("egress-guard authority in memory", now, not_after);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer, not_after })
    }

    /// A leaf for servers with these names, with a key of its own (ECDSA, P-256), valid from now on for `validity` or as long
    /// as the authority.
    pub fn issue_leaf(&self, names: &[SanName], validity: Duration) -> Result<Leaf, AuthorityError> {
        if names.is_empty() {
            return Err(AuthorityError::NoName);
        }
        let now = SystemTime::now();
        let not_after = now.checked_add(validity).ok_or(AuthorityError::Validity(validity))?.min(self.not_after);
        let mut params = params("egress-guard", now, not_after);
        params.subject_alt_names = names.iter().map(SanName::to_rcgen).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python 3.13 and later refuse a leaf without it.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: Zeroizing::new(key.serialize_pem()) })
    }

    /// The authority's own certificate: what clients have to trust (`ca.crt`).
    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }
}

impl Leaf {
    /// The certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its private key (PKCS#8). Secret.
    pub fn key_pem(&self) -> &Zeroizing<String> {
        &self.key_pem
    }

    /// A resolver for rustls that gives every client this leaf.
    pub fn resolver(&self) -> Result<Arc<dyn ResolvesServerCert>, AuthorityError> {
        let leaf = leaf::Leaf::from_pem(self.certificate_pem.as_bytes(), self.key_pem.as_bytes(), SystemTime::now())
            .map_err(|error| AuthorityError::Unfit(error.to_string()))?;
        Ok(Arc::new(SingleCertAndKey::from(leaf.certified)))
    }
}

impl SanName {
    fn to_rcgen(&self) -> Result<SanType, AuthorityError> {
        Ok(match self {
            Self::Ip(address) => SanType::IpAddress(*address),
            Self::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        })
    }
}

impl FromStr for SanName {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        match rustls_pki_types::DnsName::try_from(text) {
            Ok(_) => Ok(Self::Dns(text.to_owned())),
            Err(_) => Err(AuthorityError::Name(text.to_owned())),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

fn params(common_name: &str, now: SystemTime, not_after: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = (now - BACKDATED).into();
    params.not_after = not_after.into();
    params
}
