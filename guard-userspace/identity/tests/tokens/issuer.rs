//! An issuer like the API server: keys, a JWKS document that can change or go away, ServiceAccount tokens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use guard_identity::{KeySource, KeySourceError, PodIdentity, TokenVerifier, VerifierOptions, Workload, WorkloadId};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(crate) const POD_UID: &str = "4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11";

/// A signing key and its public half.
pub(crate) struct SigningKey {
    pub(crate) kid: &'static str,
    pub(crate) algorithm: Algorithm,
    encoding: EncodingKey,
    jwk: Value,
}

/// `/openid/v1/jwks`: what it answers, and how often it was asked.
#[derive(Default)]
pub(crate) struct Jwks {
    answer: Mutex<Option<Vec<u8>>>,
    asked: AtomicUsize,
}

impl SigningKey {
    pub(crate) fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let (encoding, mut jwk) = match algorithm {
            Algorithm::ES256 => {
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
                public(EncodingKey::from_ec_der(pkcs8.as_ref()), algorithm)
            }
            Algorithm::EdDSA => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
                let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
                let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
                (EncodingKey::from_ed_der(pkcs8.as_ref()), json!({"kty": "OKP", "crv": "Ed25519", "x": x}))
            }
            _ => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
                let pem = pem(key.as_der().expect("PKCS#8").as_ref());
                public(EncodingKey::from_rsa_pem(pem.as_bytes()).expect("a key"), algorithm)
            }
        };
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        Self { kid, algorithm, encoding, jwk }
    }

    pub(crate) fn jwk(&self) -> Value {
        self.jwk.clone()
    }

    pub(crate) fn header(&self) -> Header {
        Header { kid: Some(self.kid.to_owned()), ..Header::new(self.algorithm) }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    pub(crate) fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.encoding).expect("a token")
    }
}

fn public(encoding: EncodingKey, algorithm: Algorithm) -> (EncodingKey, Value) {
    let jwk = Jwk::from_encoding_key(&encoding, algorithm).expect("a JWK");
    (encoding, serde_json::to_value(jwk).expect("JSON"))
}

fn pem(pkcs8: &[u8]) -> String {
    let body = STANDARD.encode(pkcs8);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

impl Jwks {
    pub(crate) fn publishing(keys: &[&SigningKey]) -> Arc<Self> {
        let jwks = Arc::new(Self::default());
        jwks.publish(keys);
        jwks
    }

    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.answer_with(json!({ "keys": keys }).to_string().into_bytes());
    }

    pub(crate) fn answer_with(&self, answer: Vec<u8>) {
        *self.answer.lock().expect("no panic") = Some(answer);
    }

    pub(crate) fn go_away(&self) {
        *self.answer.lock().expect("no panic") = None;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl KeySource for Jwks {
    async fn fetch(&self, _limit: usize) -> Result<Vec<u8>, KeySourceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().expect("no panic").clone();
        answer.ok_or_else(|| KeySourceError("connection refused".to_owned()))
    }
}

pub(crate) fn verifier(jwks: &Arc<Jwks>) -> TokenVerifier {
    let jwks: Arc<Jwks> = Arc::clone(jwks);
    TokenVerifier::new(VerifierOptions::for_issuers(vec![ISSUER.to_owned()]), jwks)
}

/// The pod that calls.
pub(crate) fn workload() -> Workload {
    Workload {
        id: WorkloadId(1),
        pod: PodIdentity {
            namespace: "agents".to_owned(),
            name: "agent-0".to_owned(),
            uid: POD_UID.parse().expect("a uid"),
            service_account: "agent".to_owned(),
            node: "node-1".to_owned(),
        },
        class: "chatgpt".parse().expect("a class"),
        labels: BTreeMap::new(),
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// What the kubelet projects into that pod.
pub(crate) fn claims() -> Value {
    json!({
        "aud": ["egressguard.io"],
        "exp": now() + 3600,
        "iat": now(),
        "iss": ISSUER,
        "jti": "d5f2ce9b-6c1c-4a4b-8f57-3a3f5f5a0001",
        "kubernetes.io": {
            "namespace": "agents",
            "node": {"name": "node-1", "uid": "0e6f1b3e-0000-4000-8000-000000000001"},
            "pod": {"name": "agent-0", "uid": POD_UID},
            "serviceaccount": {"name": "agent", "uid": "7d6d7ad0-4c3c-4f0e-9f3e-111111111111"}
        },
        "nbf": now(),
        "sub": "system:serviceaccount:agents:agent"
    })
}
