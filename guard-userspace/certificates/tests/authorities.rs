//! The rotation of the authority, as clients of every age see it.

use std::time::{Duration, SystemTime};

use guard_certificates::{Authorities, Change, KeyAndRequest, Lifetimes, Request, Serving};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const LIFETIMES: Lifetimes = Lifetimes { authority: Duration::from_hours(24 * 100), leaf: DAY, overlap: HOUR };

/// A node's leaf, as its signer makes it now.
fn leaf(authorities: &Authorities) -> Serving {
    let names = ["10.96.0.1", "kubernetes.default.svc"].map(|name| name.parse().expect("made by this test")).into();
    let made = KeyAndRequest::new("egress-guard:node:n1", &names).expect("made by this test");
    let request = Request::from_pem(made.request_pem.as_bytes()).expect("made by this test");
    let chain = authorities.sign(&request, &LIFETIMES).expect("made by this test");
    let serving = Serving::waiting();
    assert!(serving.replace(chain.as_bytes(), made.key_pem.as_bytes()).expect("made by this test"));
    assert_eq!(serving.names(), names);
    serving
}

fn kept(authorities: &Authorities) -> Authorities {
    Authorities::from_json(&authorities.to_json()).expect("made by this test")
}

#[test]
fn every_client_accepts_every_leaf_throughout_a_rotation() {
    let now = SystemTime::now();
    let mut authorities = Authorities::new(now, &LIFETIMES).unwrap();
    let (old_bundle, old_leaf) = (authorities.bundle(), leaf(&authorities));
    assert_eq!(authorities.advance(now, &LIFETIMES, false).unwrap(), None);

    assert_eq!(authorities.advance(now, &LIFETIMES, true).unwrap(), Some(Change::Announced));
    authorities = kept(&authorities);
    let both = authorities.bundle();
    assert!(both.starts_with(&old_bundle) && both.len() > old_bundle.len());
    assert_eq!(authorities.advance(now, &LIFETIMES, true).unwrap(), None, "one at a time");
    let announced_leaf = leaf(&authorities);
    assert!(announced_leaf.is_trusted_by(old_bundle.as_bytes()), "the next one does not sign yet");

    assert_eq!(authorities.advance(now + HOUR, &LIFETIMES, false).unwrap(), Some(Change::Promoted));
    authorities = kept(&authorities);
    let new_leaf = leaf(&authorities);
    for bundle in [&old_bundle, &both, &authorities.bundle()] {
        for leaf in [&old_leaf, &announced_leaf, &new_leaf] {
            assert!(leaf.is_trusted_by(bundle.as_bytes()));
        }
    }

    assert_eq!(authorities.advance(now + DAY, &LIFETIMES, false).unwrap(), None, "its last leaf still lives");
    assert_eq!(authorities.advance(now + DAY + 2 * HOUR, &LIFETIMES, false).unwrap(), Some(Change::Retired));
    let last = kept(&authorities).bundle();
    assert!(!last.contains(&old_bundle));
    assert!(new_leaf.is_trusted_by(last.as_bytes()) && !old_leaf.is_trusted_by(last.as_bytes()));
    assert!(leaf(&authorities).is_trusted_by(old_bundle.as_bytes()), "who read the old bundle once goes on");
}

#[test]
fn an_authority_is_replaced_when_half_of_its_life_is_over() {
    let now = SystemTime::now();
    let mut authorities = Authorities::new(now, &LIFETIMES).unwrap();
    assert_eq!(authorities.advance(now + 49 * DAY, &LIFETIMES, false).unwrap(), None);
    assert_eq!(authorities.advance(now + 51 * DAY, &LIFETIMES, false).unwrap(), Some(Change::Announced));
}

#[test]
fn many_rotations_leave_chains_and_bundles_of_bounded_length() {
    let lifetimes = Lifetimes { overlap: Duration::ZERO, ..LIFETIMES };
    let mut authorities = Authorities::new(SystemTime::now(), &lifetimes).unwrap();
    for _ in 0..10 {
        let before = authorities.bundle();
        assert_eq!(authorities.advance(SystemTime::now(), &lifetimes, true).unwrap(), Some(Change::Announced));
        assert_eq!(authorities.advance(SystemTime::now(), &lifetimes, false).unwrap(), Some(Change::Promoted));
        assert!(leaf(&authorities).is_trusted_by(before.as_bytes()));
    }
    authorities.advance(SystemTime::now() + 2 * DAY, &lifetimes, false).unwrap();
    assert_eq!(authorities.bundle().matches("BEGIN CERTIFICATE").count(), 1);
    let names = ["10.96.0.1".parse().unwrap()].into();
    let made = KeyAndRequest::new("n", &names).unwrap();
    let chain = authorities.sign(&Request::from_pem(made.request_pem.as_bytes()).unwrap(), &LIFETIMES).unwrap();
    assert!(chain.matches("BEGIN CERTIFICATE").count() <= 5);
}

#[test]
fn another_clusters_leaf_is_not_trusted() {
    let now = SystemTime::now();
    let [one, other] = [now, now + HOUR].map(|now| Authorities::new(now, &LIFETIMES).unwrap());
    assert!(!leaf(&one).is_trusted_by(other.bundle().as_bytes()));
    assert!(!Serving::waiting().is_trusted_by(one.bundle().as_bytes()));
}

#[test]
fn what_was_kept_and_altered_is_refused_without_showing_a_key() {
    let authorities = Authorities::new(SystemTime::now(), &LIFETIMES).unwrap();
    let text = String::from_utf8(authorities.to_json().to_vec()).unwrap();
    let other = Authorities::new(SystemTime::now(), &LIFETIMES).unwrap();
    let foreign = String::from_utf8(other.to_json().to_vec()).unwrap();
    let key = |text: &str| text.split("\"key\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let swapped = text.replace(&key(&text), &key(&foreign));
    for altered in ["", "{}", &text[..text.len() / 2], &swapped, &text.replace("signing", "singing")] {
        let error = Authorities::from_json(altered.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("PRIVATE KEY"), "{error}");
    }
    assert!(!format!("{authorities:?}").contains("PRIVATE KEY"));
}
