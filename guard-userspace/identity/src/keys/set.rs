//! A JWKS document (RFC 7517), reduced to the keys that may verify a bearer token.

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use thiserror::Error;

use super::MAX_JWKS_LEN;

/// Most keys in one document. The API server publishes one or two, during a rotation a few more.
const MAX_KEYS: usize = 100;

const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// Whether a token may be signed so at all: asymmetric algorithms alone. A shared secret can't come from a published document.
pub(crate) fn accepted_algorithms(algorithm: Algorithm) -> bool {
    RSA.contains(&algorithm) || matches!(algorithm, Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA)
}

/// Why a document was not taken over.
#[derive(Debug, Error)]
pub(crate) enum KeySetError {
    #[error(
        "the JWKS document has {0} bytes, more than {MAX_JWKS_LEN}; check that the guard asks the API server and not a proxy"
    )]
    TooLong(usize),
    #[error("the answer is no JWKS document ({0}); check that the guard asks /openid/v1/jwks of the API server")]
    NoJwks(serde_json::Error),
    #[error("the JWKS document has {0} keys, more than {MAX_KEYS}")]
    TooManyKeys(usize),
    #[error("none of the {0} keys of the JWKS document can verify a token")]
    NoUsableKey(usize),
}

pub(crate) struct KeySet {
    keys: Vec<Key>,
    digest: [u8; 32],
}

struct Key {
    kid: String,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// Each key stands for itself: one of a kind that we don't know must not spoil its neighbours.
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    pub(crate) fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        if document.len() > MAX_JWKS_LEN {
            return Err(KeySetError::TooLong(document.len()));
        }
        let Document { keys: published } = serde_json::from_slice(document).map_err(KeySetError::NoJwks)?;
        if published.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys(published.len()));
        }
        let count = published.len();
        let keys: Vec<Key> = published.into_iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey(count));
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, document).as_ref());
        Ok(Self { keys, digest: sha256 })
    }

    pub(crate) fn find(&self, kid: &str, algorithm: Algorithm) -> Option<&DecodingKey> {
        self.keys.iter().find(|key| key.kid == kid && key.algorithms.contains(&algorithm)).map(|key| &key.decoding)
    }

    /// Byte for byte the same document.
    pub(crate) fn same_document(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

fn usable(published: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(published).ok()?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let kid = jwk.common.key_id.clone().filter(|kid| !kid.is_empty())?;
    let mut algorithms = algorithms_of(&jwk.algorithm);
    if let Some(declared) = jwk.common.key_algorithm {
        let declared = declared.to_string().parse::<Algorithm>().ok()?;
        algorithms.retain(|algorithm| *algorithm == declared);
    }
    if algorithms.is_empty() {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { kid, algorithms, decoding })
}

fn algorithms_of(key: &AlgorithmParameters) -> Vec<Algorithm> {
    match key {
        AlgorithmParameters::RSA(_) => RSA.to_vec(),
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","use":"sig","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn parse(keys: &[&str]) -> Result<KeySet, KeySetError> {
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn a_key_of_an_unknown_kind_does_not_spoil_its_neighbours() {
        let set = parse(&[r#"{"kty":"AKP","alg":"ML-DSA-65","kid":"pq"}"#, ED25519, "7"]).unwrap();
        assert!(set.find("ed", Algorithm::EdDSA).is_some());
    }

    #[test]
    fn a_published_secret_is_no_key() {
        let shared = r#"{"kty":"oct","kid":"shared","alg":"HS256","k":"c2VjcmV0"}"#;
        assert!(matches!(parse(&[shared]), Err(KeySetError::NoUsableKey(1))));
    }

    #[test]
    fn a_key_for_encryption_does_not_verify() {
        assert!(parse(&[&ED25519.replace("\"sig\"", "\"enc\"")]).is_err());
    }

    #[test]
    fn a_key_verifies_only_what_its_kind_can_sign() {
        let set = parse(&[ED25519]).unwrap();
        for algorithm in RSA.iter().chain(&[Algorithm::ES256, Algorithm::ES384, Algorithm::HS256]) {
            assert!(set.find("ed", *algorithm).is_none(), "{algorithm:?}");
        }
    }

    #[test]
    fn too_many_keys_and_too_many_bytes_are_refused() {
        assert!(matches!(parse(&vec![ED25519; MAX_KEYS + 1]), Err(KeySetError::TooManyKeys(_))));
        assert!(matches!(KeySet::parse(&vec![b' '; MAX_JWKS_LEN + 1]), Err(KeySetError::TooLong(_))));
    }

    #[test]
    fn an_error_page_is_no_key_set() {
        assert!(matches!(KeySet::parse(b"<html>503</html>"), Err(KeySetError::NoJwks(_))));
    }
}
