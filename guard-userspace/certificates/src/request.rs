//! A request for a leaf: made on a node, read where it is signed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKey, SanType,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{AuthorityError, SanName};

/// Longest request that is read, in bytes of PEM: some hundred names.
const MAX_LEN: usize = 64 * 1024;

/// Why a request can't be signed, whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Longer than any honest one.
    #[error("the request has {0} bytes; at most {MAX_LEN} are read")]
    TooLong(usize),
    /// No PKCS#10 request in PEM whose signature is that of its key.
    #[error("no signing request in PEM that can be understood: {0}")]
    Unreadable(String),
    /// The certificate would be an authority.
    #[error("the request asks for a certificate authority")]
    Authority,
    /// RSA keys are slow, others unknown to clients.
    #[error("the key is not of ECDSA with P-256 or P-384")]
    Key,
    /// Other names than DNS names and addresses, or names that are none.
    #[error("the request asks for a name that is neither a DNS name nor an IP address")]
    Name,
    /// No common name, or more than that in the subject.
    #[error("the request's subject is not one common name")]
    Subject,
}

/// A request that was read: its signature is that of its key.
#[derive(Debug)]
pub struct Request {
    common_name: String,
    names: BTreeSet<SanName>,
    public_key: PublicKey,
}

/// A request that was made, with the key that it is for.
pub struct KeyAndRequest {
    /// The private key (PKCS#8), PEM. Secret.
    pub key_pem: Zeroizing<String>,
    /// The request (PKCS#10), PEM.
    pub request_pem: String,
}

impl KeyAndRequest {
    /// A new key (ECDSA, P-256), and a request of this name for a server with these names.
    pub fn new(common_name: &str, names: &BTreeSet<SanName>) -> Result<Self, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names.iter().map(SanName::to_rcgen).collect::<Result<_, _>>()?;
        let key = KeyPair::generate()?;
        let request_pem = params.serialize_request(&key)?.pem()?;
        Ok(Self { key_pem: Zeroizing::new(key.serialize_pem()), request_pem })
    }
}

impl Request {
    /// Reads a request in PEM. Whatever it asks for beside a name, names and a key is an error, or not granted.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RequestError> {
        if pem.len() > MAX_LEN {
            return Err(RequestError::TooLong(pem.len()));
        }
        let unreadable = |error: &dyn std::fmt::Display| RequestError::Unreadable(error.to_string());
        let text = std::str::from_utf8(pem).map_err(|error| unreadable(&error))?;
        let parsed = CertificateSigningRequestParams::from_pem(text).map_err(|error| unreadable(&error))?;
        if matches!(parsed.params.is_ca, IsCa::Ca(_)) {
            return Err(RequestError::Authority);
        }
        if ![&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384].contains(&parsed.public_key.algorithm()) {
            return Err(RequestError::Key);
        }
        let names =
            parsed.params.subject_alt_names.iter().map(name).collect::<Option<_>>().ok_or(RequestError::Name)?;
        let common_name = common_name(&parsed.params.distinguished_name).ok_or(RequestError::Subject)?;
        Ok(Self { common_name, names, public_key: parsed.public_key })
    }

    /// Who asks, by its own word.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// What the leaf shall be for.
    pub fn names(&self) -> &BTreeSet<SanName> {
        &self.names
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

fn name(san: &SanType) -> Option<SanName> {
    match san {
        SanType::DnsName(name) => match name.as_str().parse() {
            // An address written as a DNS name is neither.
            Ok(SanName::Dns(name)) => Some(SanName::Dns(name)),
            _ => None,
        },
        SanType::IpAddress(address) => Some(SanName::Ip(IpAddr::to_canonical(address))),
        _ => None,
    }
}

fn common_name(subject: &DistinguishedName) -> Option<String> {
    let mut parts = subject.iter();
    let text = match parts.next()? {
        (DnType::CommonName, DnValue::Utf8String(text)) => text.clone(),
        (DnType::CommonName, DnValue::PrintableString(text)) => text.as_str().to_owned(),
        _ => return None,
    };
    parts.next().is_none().then_some(text)
}

#[cfg(test)]
mod tests {
    use rcgen::BasicConstraints;

    use super::*;

    fn names(texts: &[&str]) -> BTreeSet<SanName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn request(change: impl FnOnce(&mut CertificateParams)) -> Result<Request, RequestError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "n1");
        params.subject_alt_names = vec![SanType::IpAddress("10.96.0.1".parse().unwrap())];
        change(&mut params);
        let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        Request::from_pem(request.pem().unwrap().as_bytes())
    }

    #[test]
    fn what_was_asked_for_is_what_is_read() {
        let wanted = names(&["10.96.0.1", "fd00::1", "kubernetes.default.svc"]);
        let made = KeyAndRequest::new("egress-guard:node:n1", &wanted).unwrap();
        let read = Request::from_pem(made.request_pem.as_bytes()).unwrap();
        assert_eq!((read.common_name(), read.names()), ("egress-guard:node:n1", &wanted));
    }

    #[test]
    fn what_is_more_than_a_leaf_is_refused() {
        assert!(request(|_| {}).is_ok());
        let authority = request(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(authority.unwrap_err(), RequestError::Authority);
        let mail = request(|params| params.subject_alt_names.push(SanType::Rfc822Name("a@b.c".try_into().unwrap())));
        assert_eq!(mail.unwrap_err(), RequestError::Name);
        let address = request(|params| {
            params.subject_alt_names.push(SanType::DnsName("10.0.0.1".try_into().unwrap()));
        });
        assert_eq!(address.unwrap_err(), RequestError::Name);
        let group = request(|params| params.distinguished_name.push(DnType::OrganizationName, "system:masters"));
        assert_eq!(group.unwrap_err(), RequestError::Subject);
    }

    #[test]
    fn a_request_that_was_altered_or_is_none_is_refused() {
        for text in ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
            assert!(matches!(Request::from_pem(text.as_bytes()), Err(RequestError::Unreadable(_))), "{text:?}");
        }
        assert!(matches!(Request::from_pem(&vec![b'A'; MAX_LEN + 1]), Err(RequestError::TooLong(_))));
        let made = KeyAndRequest::new("n1", &names(&["10.96.0.1"])).unwrap();
        let other = KeyAndRequest::new("n2", &names(&["10.96.0.1"])).unwrap();
        let body = |pem: &str| pem.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        let (mut lines, others) = (body(&made.request_pem), body(&other.request_pem));
        lines[0].clone_from(&others[0]);
        let mixed = format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n", lines.join("\n"));
        if lines != others {
            assert!(Request::from_pem(mixed.as_bytes()).is_err());
        }
    }
}
