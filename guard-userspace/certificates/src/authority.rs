//! A certificate authority: what it signs is worth something only to who was given its certificate.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::server::ResolvesServerCert;
use rustls::sign::SingleCertAndKey;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::leaf;
use crate::request::Request;

/// How long an authority in memory lives: longer than any process that has one, and leaves end with it.
const AUTHORITY_VALIDITY: Duration = Duration::from_hours(365 * 24);
/// Certificates begin this long before they are made, clocks differ, but not more than half of their life: it is renewed by then.
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
    /// Kept, and no authority any more.
    #[error("this is no certificate authority with its key: {0}")]
    Kept(String),
    /// Made, and not fit to serve.
    #[error("the certificate that was made cannot serve: {0}")]
    Unfit(String),
}

/// Whom a leaf is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SanName {
    /// `kubernetes.default.svc`.
    Dns(String),
    /// `10.96.0.1`: clients dial the API server by address.
    Ip(IpAddr),
}

/// Signs leaves.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    common_name: String,
    certificate_pem: String,
    not_after: SystemTime,
}

/// A leaf with its key.
pub struct Leaf {
    certificate_pem: String,
    key_pem: Zeroizing<String>,
}

impl Authority {
    /// A new authority with a new key (ECDSA, P-256), for a process alone.
    pub fn new_in_memory() -> Result<Self, AuthorityError> {
        Self::new("egress-guard authority in memory", SystemTime::now(), AUTHORITY_VALIDITY)
    }

    /// A new authority with a new key (ECDSA, P-256). Authorities that stand side by side need different names.
    pub fn new(common_name: &str, now: SystemTime, validity: Duration) -> Result<Self, AuthorityError> {
        let not_after = now.checked_add(validity).ok_or(AuthorityError::Validity(validity))?;
        let params = authority_params(common_name, now, not_after);
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), common_name: common_name.to_owned(), certificate_pem, not_after })
    }

    /// One that was kept: its certificate and its key, both PEM.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let kept = |error: rcgen::Error| AuthorityError::Kept(error.to_string());
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key).map_err(kept)?).map_err(kept)?;
        let facts =
            leaf::Facts::from_pem(certificate.as_bytes()).map_err(|error| AuthorityError::Kept(error.to_string()))?;
        let public_key = issuer.key().subject_public_key_info();
        if facts.public_key_info != public_key {
            return Err(AuthorityError::Kept("the key is not that of the certificate".to_owned()));
        }
        Ok(Self {
            issuer,
            common_name: facts.common_name,
            certificate_pem: certificate.to_owned(),
            not_after: facts.not_after,
        })
    }

    /// A leaf for servers with these names, with a key of its own (ECDSA, P-256), valid from now on for `validity` or as long
    /// as the authority.
    pub fn issue_leaf(&self, names: &[SanName], validity: Duration) -> Result<Leaf, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = self.sign("egress-guard", &key, names, validity)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: Zeroizing::new(key.serialize_pem()) })
    }

    /// A leaf for the key of a request: for the name and the names that the request has, which the caller has judged. PEM.
    pub fn sign_request(&self, request: &Request, validity: Duration) -> Result<String, AuthorityError> {
        let names: Vec<_> = request.names().iter().cloned().collect();
        Ok(self.sign(request.common_name(), request.public_key(), &names, validity)?.pem())
    }

    /// Another authority's name and key, signed by this one for as long as this one lives: who trusts this one alone can follow a leaf of
    /// the other. PEM.
    pub(crate) fn cross_sign(&self, other: &Self, now: SystemTime) -> Result<String, AuthorityError> {
        let params = authority_params(&other.common_name, now, self.not_after.min(other.not_after));
        Ok(params.signed_by(other.issuer.key(), &self.issuer)?.pem())
    }

    fn sign(
        &self,
        common_name: &str,
        key: &impl PublicKeyData,
        names: &[SanName],
        validity: Duration,
    ) -> Result<Certificate, AuthorityError> {
        if names.is_empty() {
            return Err(AuthorityError::NoName);
        }
        let now = SystemTime::now();
        let not_after = now.checked_add(validity).ok_or(AuthorityError::Validity(validity))?.min(self.not_after);
        let mut params = params(common_name, now, not_after);
        params.subject_alt_names = names.iter().map(SanName::to_rcgen).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python 3.13 and later refuse a leaf without it.
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?)
    }

    /// The authority's own certificate: what clients have to trust (`ca.crt`).
    pub fn certificate_pem(&self) -> String {
        self.certificate_pem.clone()
    }

    /// Its private key (PKCS#8). Secret.
    pub(crate) fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
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
    pub(crate) fn to_rcgen(&self) -> Result<SanType, AuthorityError> {
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

impl fmt::Display for SanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
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

fn authority_params(common_name: &str, now: SystemTime, not_after: SystemTime) -> CertificateParams {
    let mut params = params(common_name, now, not_after);
    // No limit on the path: an authority signs its successors, too.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.use_authority_key_identifier_extension = true;
    params
}

fn params(common_name: &str, now: SystemTime, not_after: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = (now - BACKDATED.min(not_after.duration_since(now).unwrap_or_default() / 2)).into();
    params.not_after = not_after.into();
    params
}
