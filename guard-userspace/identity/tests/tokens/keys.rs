//! The issuer's keys: rotated, withdrawn, away, and asked for too often. Where time is waited for, it is tokio's, and paused.

use std::time::Duration;

use guard_identity::AuthError;
use jsonwebtoken::Algorithm;

use crate::issuer::{Jwks, SigningKey, claims, verifier, workload};

#[tokio::test]
async fn the_keys_are_fetched_once_for_all_tokens() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let jwks = Jwks::publishing(&[&key]);
    let verifier = verifier(&jwks);
    for _ in 0..10 {
        assert!(verifier.verify(&workload(), Some(&key.sign(&claims()))).await.is_ok());
    }
    assert_eq!(jwks.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn cached_keys_serve_while_the_source_is_away() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let jwks = Jwks::publishing(&[&key]);
    let verifier = verifier(&jwks);
    assert!(verifier.verify(&workload(), Some(&key.sign(&claims()))).await.is_ok());
    for (asked, answer) in [(2, None), (3, Some(&b"<html>503</html>"[..])), (4, Some(&b"{\"keys\":[]}"[..]))] {
        tokio::time::advance(Duration::from_secs(10)).await;
        match answer {
            None => jwks.go_away(),
            Some(answer) => jwks.answer_with(answer.to_vec()),
        }
        let unknown = SigningKey::new("unknown", Algorithm::ES256);
        assert_eq!(verifier.verify(&workload(), Some(&unknown.sign(&claims()))).await, Err(AuthError::UnknownKey));
        assert_eq!(jwks.asked(), asked, "{answer:?}");
        assert!(verifier.verify(&workload(), Some(&key.sign(&claims()))).await.is_ok(), "{answer:?}");
    }
}

#[tokio::test]
async fn invented_keys_do_not_make_the_guard_ask_again_and_again() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let jwks = Jwks::publishing(&[&key]);
    let verifier = verifier(&jwks);
    assert!(verifier.verify(&workload(), Some(&key.sign(&claims()))).await.is_ok());
    for kid in ["a", "b", "c", "d"] {
        let invented = SigningKey::new(kid, Algorithm::ES256);
        assert_eq!(verifier.verify(&workload(), Some(&invented.sign(&claims()))).await, Err(AuthError::UnknownKey));
    }
    assert_eq!(jwks.asked(), 1, "the first fetch was less than ten seconds ago");
}

#[tokio::test(start_paused = true)]
async fn the_keys_come_as_soon_as_the_source_does() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let jwks = Jwks::publishing(&[]);
    jwks.go_away();
    let verifier = verifier(&jwks);
    assert_eq!(verifier.verify(&workload(), Some(&key.sign(&claims()))).await, Err(AuthError::KeysUnavailable));
    jwks.publish(&[&key]);
    assert_eq!(verifier.verify(&workload(), Some(&key.sign(&claims()))).await, Err(AuthError::KeysUnavailable));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(verifier.verify(&workload(), Some(&key.sign(&claims()))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_with_the_first_token_that_it_signed() {
    let (old, new) = (SigningKey::new("old", Algorithm::RS256), SigningKey::new("new", Algorithm::ES256));
    let jwks = Jwks::publishing(&[&old]);
    let verifier = verifier(&jwks);
    assert!(verifier.verify(&workload(), Some(&old.sign(&claims()))).await.is_ok());
    jwks.publish(&[&old, &new]);
    tokio::time::advance(Duration::from_secs(10)).await;
    for key in [&new, &old] {
        assert!(verifier.verify(&workload(), Some(&key.sign(&claims()))).await.is_ok(), "{}", key.kid);
    }
    assert_eq!(jwks.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_takes_its_verified_tokens_with_it() {
    let (old, new) = (SigningKey::new("old", Algorithm::ES256), SigningKey::new("new", Algorithm::ES256));
    let jwks = Jwks::publishing(&[&old, &new]);
    let verifier = verifier(&jwks);
    let token = old.sign(&claims());
    assert!(verifier.verify(&workload(), Some(&token)).await.is_ok());
    jwks.publish(&[&new]);
    tokio::time::advance(Duration::from_mins(5)).await;
    assert!(verifier.verify(&workload(), Some(&token)).await.is_ok(), "nobody waits for the refresh that this starts");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(verifier.verify(&workload(), Some(&token)).await, Err(AuthError::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_is_given_up() {
    struct Silent;
    #[async_trait::async_trait]
    impl guard_identity::KeySource for Silent {
        async fn fetch(&self, _limit: usize) -> Result<Vec<u8>, guard_identity::KeySourceError> {
            std::future::pending().await
        }
    }
    let options = guard_identity::VerifierOptions::for_issuers(vec![crate::issuer::ISSUER.to_owned()]);
    let verifier = guard_identity::TokenVerifier::new(options, std::sync::Arc::new(Silent));
    let started = tokio::time::Instant::now();
    let token = SigningKey::new("k", Algorithm::ES256).sign(&claims());
    assert_eq!(verifier.verify(&workload(), Some(&token)).await, Err(AuthError::KeysUnavailable));
    assert!(started.elapsed() <= Duration::from_secs(6));
}
