//! Tokens that are refused, each for its reason.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use guard_identity::{AuthError, MAX_TOKEN_LEN, bearer_of};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::issuer::{Jwks, SigningKey, claims, now, verifier, workload};

/// What becomes of the pod's own claims after `change`.
async fn refusal_of(change: impl FnOnce(&mut Value)) -> AuthError {
    let key = SigningKey::new("k", Algorithm::ES256);
    let mut claims = claims();
    change(&mut claims);
    let token = key.sign(&claims);
    verifier(&Jwks::publishing(&[&key])).verify(&workload(), Some(&token)).await.expect_err(&claims.to_string())
}

fn remove(claims: &mut Value, pointer: &str, key: &str) {
    claims
        .pointer_mut(pointer)
        .and_then(Value::as_object_mut)
        .and_then(|object| object.remove(key))
        .expect("the claim");
}

fn encoded(part: &str) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

#[tokio::test]
async fn no_token_is_refused() {
    let verifier = verifier(&Jwks::publishing(&[]));
    for none in [None, Some("")] {
        assert_eq!(verifier.verify(&workload(), none).await, Err(AuthError::Missing));
    }
}

#[tokio::test]
async fn a_token_of_a_megabyte_is_refused_unread() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let jwks = Jwks::publishing(&[&key]);
    let mut claims = claims();
    claims["padding"] = json!("x".repeat(1 << 20));
    for token in [key.sign(&claims), "x".repeat(MAX_TOKEN_LEN + 1)] {
        assert_eq!(verifier(&jwks).verify(&workload(), Some(&token)).await, Err(AuthError::TooLong));
    }
    assert_eq!(jwks.asked(), 0);
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let jwks = Jwks::publishing(&[&key]);
    let header = encoded(r#"{"alg":"ES256","kid":"k"}"#);
    let with_claims = |claims: &str| format!("{header}.{}.AAAA", encoded(claims));
    for token in [
        "x".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "a.b.c.d".to_owned(),
        "\u{0}".to_owned(),
        format!("{header}.."),
        format!("{header}.e30"),
        with_claims("[]"),
        with_claims("{}"),
        with_claims(r#"{"iss":7}"#),
        with_claims(&"[".repeat(5_000)),
    ] {
        assert_eq!(verifier(&jwks).verify(&workload(), Some(&token)).await, Err(AuthError::Malformed), "{token:.80}");
    }
    assert_eq!(jwks.asked(), 0, "nonsense costs no fetch");
}

#[tokio::test]
async fn a_token_without_what_a_service_account_token_has_is_refused() {
    for claim in ["exp", "nbf", "aud", "sub", "iss"] {
        assert_eq!(refusal_of(|claims| remove(claims, "", claim)).await, AuthError::Malformed, "{claim}");
    }
    for claim in ["namespace", "serviceaccount"] {
        assert_eq!(refusal_of(|claims| remove(claims, "/kubernetes.io", claim)).await, AuthError::Malformed, "{claim}");
    }
    for (claim, value) in [
        ("exp", json!("soon")),
        ("exp", json!(-1)),
        ("nbf", json!({})),
        ("sub", json!("system:serviceaccount:agents:admin")),
    ] {
        assert_eq!(refusal_of(|claims| claims[claim] = value.clone()).await, AuthError::Malformed, "{claim}: {value}");
    }
}

#[tokio::test]
async fn a_critical_extension_is_refused() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let header = Header { crit: Some(vec!["exp".to_owned()]), ..key.header() };
    let token = key.sign_with(&header, &claims());
    assert_eq!(verifier(&Jwks::publishing(&[&key])).verify(&workload(), Some(&token)).await, Err(AuthError::Malformed));
}

#[tokio::test]
async fn a_token_that_is_not_signed_is_refused() {
    let jwks = Jwks::publishing(&[&SigningKey::new("k", Algorithm::ES256)]);
    for algorithm in ["none", "None", "NONE", "nOnE", "ES512", ""] {
        let header = json!({"alg": algorithm, "kid": "k"}).to_string();
        for signature in ["", "AAAA"] {
            let token = format!("{}.{}.{signature}", encoded(&header), encoded(&claims().to_string()));
            assert_eq!(
                verifier(&jwks).verify(&workload(), Some(&token)).await,
                Err(AuthError::Algorithm),
                "{algorithm}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_signed_with_the_public_key_as_a_secret_is_refused() {
    let key = SigningKey::new("k", Algorithm::RS256);
    let public = key.jwk().to_string();
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let header = Header { kid: Some("k".to_owned()), ..Header::new(algorithm) };
        let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(public.as_bytes())).unwrap();
        let verified = verifier(&Jwks::publishing(&[&key])).verify(&workload(), Some(&token)).await;
        assert_eq!(verified, Err(AuthError::Algorithm), "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_token_of_a_key_that_is_not_published_is_refused() {
    let published = SigningKey::new("k", Algorithm::ES256);
    let jwks = Jwks::publishing(&[&published]);
    let other = SigningKey::new("other", Algorithm::ES256);
    assert_eq!(verifier(&jwks).verify(&workload(), Some(&other.sign(&claims()))).await, Err(AuthError::UnknownKey));
    let nameless = Header { kid: None, ..published.header() };
    let token = published.sign_with(&nameless, &claims());
    assert_eq!(verifier(&jwks).verify(&workload(), Some(&token)).await, Err(AuthError::UnknownKey));
}

#[tokio::test]
async fn a_key_in_the_tokens_own_header_is_not_believed() {
    let thief = SigningKey::new("k", Algorithm::ES256);
    let header = Header {
        jwk: serde_json::from_value(thief.jwk()).unwrap(),
        jku: Some("https://thief.example".to_owned()),
        ..thief.header()
    };
    let token = thief.sign_with(&header, &claims());
    let jwks = Jwks::publishing(&[&SigningKey::new("k", Algorithm::ES256)]);
    assert_eq!(verifier(&jwks).verify(&workload(), Some(&token)).await, Err(AuthError::Signature));
}

#[tokio::test]
async fn a_token_with_altered_claims_is_refused() {
    let key = SigningKey::new("k", Algorithm::RS256);
    let mut altered = claims();
    altered["exp"] = json!(now() + 999_999);
    let (token, other) = (key.sign(&claims()), key.sign(&altered));
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (token, other) = (parts(&token), parts(&other));
    let jwks = Jwks::publishing(&[&key]);
    for mixed in
        [[&token[0], &other[1], &token[2]].map(String::as_str).join("."), format!("{}.{}.", token[0], token[1])]
    {
        assert_eq!(verifier(&jwks).verify(&workload(), Some(&mixed)).await, Err(AuthError::Signature), "{mixed}");
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_is_refused_without_asking_for_its_key() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let jwks = Jwks::publishing(&[&key]);
    for issuer in ["https://other.example", "", "https://kubernetes.default.svc.cluster.local/"] {
        let mut claims = claims();
        claims["iss"] = json!(issuer);
        assert_eq!(
            verifier(&jwks).verify(&workload(), Some(&key.sign(&claims))).await,
            Err(AuthError::Issuer),
            "{issuer}"
        );
    }
    assert_eq!(jwks.asked(), 0);
}

#[tokio::test]
async fn a_token_for_another_audience_or_for_two_is_refused() {
    for audience in [
        json!("https://kubernetes.default.svc"),
        json!(["https://kubernetes.default.svc"]),
        json!(["egressguard.io", "https://kubernetes.default.svc"]),
        json!(["EgressGuard.io"]),
        json!([]),
    ] {
        assert_eq!(refusal_of(|claims| claims["aud"] = audience.clone()).await, AuthError::Audience, "{audience}");
    }
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    assert_eq!(refusal_of(|claims| claims["exp"] = json!(now() - 60)).await, AuthError::Expired);
}

#[tokio::test]
async fn a_token_of_tomorrow_is_refused() {
    assert_eq!(refusal_of(|claims| claims["nbf"] = json!(now() + 86_400)).await, AuthError::NotYetValid);
}

#[tokio::test]
async fn a_token_that_is_bound_to_no_pod_is_refused() {
    assert_eq!(refusal_of(|claims| remove(claims, "/kubernetes.io", "pod")).await, AuthError::NotPodBound);
    assert_eq!(refusal_of(|claims| remove(claims, "", "kubernetes.io")).await, AuthError::NotPodBound);
}

#[tokio::test]
async fn a_stolen_token_is_refused() {
    for (pointer, value) in [
        ("/kubernetes.io/pod/uid", "ffffffff-6f0b-4f1c-9d0a-0d9b7a3f9f11"),
        ("/kubernetes.io/pod/name", "agent-1"),
        ("/kubernetes.io/namespace", "other"),
        ("/kubernetes.io/serviceaccount/name", "admin"),
    ] {
        let refusal = refusal_of(|claims| *claims.pointer_mut(pointer).expect("the claim") = json!(value)).await;
        assert_eq!(refusal, AuthError::OtherPod, "{pointer}");
    }
}

#[tokio::test]
async fn every_token_is_refused_while_there_are_no_keys() {
    let key = SigningKey::new("k", Algorithm::ES256);
    let jwks = Jwks::publishing(&[&key]);
    jwks.go_away();
    assert_eq!(verifier(&jwks).verify(&workload(), Some(&key.sign(&claims()))).await, Err(AuthError::KeysUnavailable));
}

#[test]
fn a_bearer_token_is_taken_from_its_header_alone() {
    let of = |text: &'static str| bearer_of(&HeaderValue::from_static(text)).map(str::to_owned);
    for header in ["Bearer x.y.z", "bearer x.y.z", "BEARER  x.y.z "] {
        assert_eq!(of(header).as_deref(), Some("x.y.z"), "{header}");
    }
    for header in ["", "Bearer", "Bearer ", "Basic x.y.z", "x.y.z", "Bearerx.y.z"] {
        assert_eq!(of(header), None, "{header}");
    }
    assert_eq!(bearer_of(&HeaderValue::from_bytes(b"Bearer \xff").unwrap()), None);
}

#[test]
fn every_refusal_has_its_own_word_and_an_advice() {
    use AuthError::{
        Algorithm, Audience, Expired, Issuer, KeysUnavailable, Malformed, Missing, NotPodBound, NotYetValid, OtherPod,
        Signature, TooLong, UnknownKey,
    };
    let all = [
        Missing,
        TooLong,
        Malformed,
        Algorithm,
        UnknownKey,
        Signature,
        Issuer,
        Audience,
        Expired,
        NotYetValid,
        NotPodBound,
        OtherPod,
        KeysUnavailable,
    ];
    let words: std::collections::BTreeSet<_> = all.iter().map(|error| error.reason()).collect();
    assert_eq!(words.len(), all.len());
    assert!(all.iter().all(|error| error.advice().ends_with('.') && !error.to_string().is_empty()));
}
