//! Tokens that prove who is calling.

use jsonwebtoken::Algorithm;
use serde_json::json;

use guard_identity::AuthError;

use crate::issuer::{Jwks, SigningKey, claims, now, verifier, workload};

#[tokio::test]
async fn the_pods_own_token_is_its_service_account() {
    let key = SigningKey::new("k", Algorithm::RS256);
    let caller = verifier(&Jwks::publishing(&[&key])).verify(&workload(), Some(&key.sign(&claims()))).await.unwrap();
    assert_eq!(caller.username, "system:serviceaccount:agents:agent");
    assert_eq!(caller.groups, ["system:serviceaccounts", "system:serviceaccounts:agents", "system:authenticated"]);
    assert_eq!(caller.uid, "7d6d7ad0-4c3c-4f0e-9f3e-111111111111");
}

#[tokio::test]
async fn every_algorithm_of_the_list_is_accepted() {
    let keys = [
        SigningKey::new("rs", Algorithm::RS256),
        SigningKey::new("ps", Algorithm::PS256),
        SigningKey::new("es", Algorithm::ES256),
        SigningKey::new("ed", Algorithm::EdDSA),
    ];
    let verifier = verifier(&Jwks::publishing(&keys.each_ref()));
    for key in &keys {
        let outcome = verifier.verify(&workload(), Some(&key.sign(&claims()))).await;
        assert!(outcome.is_ok(), "{}: {outcome:?}", key.kid);
    }
}

#[tokio::test]
async fn clocks_may_differ_by_half_a_minute() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let verifier = verifier(&Jwks::publishing(&[&key]));
    for (claim, value) in [("exp", now() - 20), ("nbf", now() + 20)] {
        let mut claims = claims();
        claims[claim] = json!(value);
        let outcome = verifier.verify(&workload(), Some(&key.sign(&claims))).await;
        assert!(outcome.is_ok(), "{claim}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_audience_may_be_written_as_one_string() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let mut claims = claims();
    claims["aud"] = json!("egressguard.io");
    assert!(verifier(&Jwks::publishing(&[&key])).verify(&workload(), Some(&key.sign(&claims))).await.is_ok());
}

#[tokio::test]
async fn a_token_that_was_verified_once_expires_all_the_same() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let verifier = verifier(&Jwks::publishing(&[&key]));
    let mut claims = claims();
    // Ten seconds are left of the clock skew that is allowed: a busy machine loses some before the first look.
    claims["exp"] = json!(now() - 20);
    let token = key.sign(&claims);
    assert!(verifier.verify(&workload(), Some(&token)).await.is_ok());
    let expired = tokio::time::timeout(std::time::Duration::from_mins(1), async {
        while verifier.verify(&workload(), Some(&token)).await != Err(AuthError::Expired) {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    });
    assert!(expired.await.is_ok(), "it is still accepted");
}

#[tokio::test]
async fn a_token_that_was_verified_once_is_still_the_one_pods_alone() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let verifier = verifier(&Jwks::publishing(&[&key]));
    let token = key.sign(&claims());
    assert!(verifier.verify(&workload(), Some(&token)).await.is_ok());
    let mut thief = workload();
    thief.pod.uid = "ffffffff-6f0b-4f1c-9d0a-0d9b7a3f9f11".parse().unwrap();
    assert_eq!(verifier.verify(&thief, Some(&token)).await, Err(AuthError::OtherPod));
}
