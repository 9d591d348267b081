//! A pod-bound token as the API server issues it, and a verifier that knows its key.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use guard_identity::{KeySource, KeySourceError, TokenVerifier, VerifierOptions, Workload};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::KeyPair;
use serde_json::json;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

struct Keys(Vec<u8>);

#[async_trait]
impl KeySource for Keys {
    async fn fetch(&self, _: usize) -> Result<Vec<u8>, KeySourceError> {
        Ok(self.0.clone())
    }
}

pub(crate) fn verifier_and_token(workload: &Workload) -> (TokenVerifier, String) {
    let key = EncodingKey::from_ec_der(&KeyPair::generate().unwrap().serialize_der());
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap()).unwrap();
    jwk["kid"] = json!("bench");
    let keys = json!({ "keys": [jwk] }).to_string().into_bytes();
    let verifier = TokenVerifier::new(VerifierOptions::for_issuers(vec![ISSUER.into()]), Arc::new(Keys(keys)));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let pod = &workload.pod;
    let claims = json!({
        "iss": ISSUER, "aud": [guard_identity::AGENT_AUDIENCE], "iat": now, "nbf": now, "exp": now + 3600,
        "sub": format!("system:serviceaccount:{}:{}", pod.namespace, pod.service_account),
        "kubernetes.io": {
            "namespace": pod.namespace,
            "serviceaccount": {"name": pod.service_account, "uid": "0d9b7a3f-0000-4000-8000-000000000000"},
            "pod": {"name": pod.name, "uid": pod.uid.as_str()},
        },
    });
    let header = Header { kid: Some("bench".into()), ..Header::new(Algorithm::ES256) };
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    (verifier, token)
}
