//! Whatever comes: no panic, no invalid answer to a valid one, bounded nesting.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use guard_masking::{Engine, Fault, Format, Masker, Policy, Report, ScopeKey};
use proptest::prelude::*;

fn engine() -> Engine {
    let mut policy = Policy::default();
    policy
        .select(&[
            "*".to_owned(),
            "email-address".to_owned(),
            "payment-card-number".to_owned(),
            "ip-address".to_owned(),
        ])
        .unwrap();
    policy.add_custom("badge", "B([0-9]{6})", "B123456", "B12").unwrap();
    Engine::new(ScopeKey::derive(&[1; 32], "hostile"), policy).unwrap()
}

fn mask(engine: &Engine, format: Format, input: &[u8], piece: usize) -> Result<Vec<u8>, Fault> {
    let mut masker = Masker::new(format);
    let (mut out, mut report) = (Vec::new(), Report::keeping());
    for piece in input.chunks(piece) {
        masker.push(engine, piece, &mut out, &mut report)?;
    }
    masker.finish(engine, &mut out, &mut report)?;
    Ok(out)
}

/// What formats are made of, so that nonsense comes close to sense.
const PARTS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u",
    "\\ud83d",
    "\\n",
    "\"kind\":\"Secret\"",
    "\"data\":{",
    "\"stringData\":{\"a\":\"b\"}",
    "\"type\":\"Opaque\"",
    "\"name\":\"PASSWORD\"",
    "\"value\":\"x\"",
    "\"a\":",
    "\"",
    "1e5",
    "null",
    "kind: Secret\n",
    "data:\n",
    "  p: aHVudGVyMg==\n",
    "- ",
    "  ",
    "\n",
    "|\n",
    "'",
    "# ",
    "---\n",
    "type: Opaque\n",
    "items:\n",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----END",
    "://u:p@",
    "password=",
    "eyJhbGciOiJub25lIn0.",
    "H4sIAAAAAAAA",
    "Authorization: Basic ",
    "ghp_",
    "%3D",
    "@tcp(",
    "@",
    "PuTTY-User-Key-File-",
    "Private-MAC: ",
    "4111111111111111",
    "10.0.0.1",
    "a@b.cd",
    "B123456",
    "<password>",
    "</",
    "\u{feff}",
    "é",
    "\0",
    "\x7f",
    "\x1b[1m",
    "dXNlcjpwYXNzd29yZA==",
    "Cookie: a=b",
    "token: ",
    "sk-",
];

fn nonsense() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => (0..PARTS.len()).prop_map(|number| PARTS[number].as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => "[A-Za-z0-9+/=_-]{1,50}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let text = prop_oneof![
        (0..PARTS.len()).prop_map(|number| PARTS[number].to_owned()),
        "[ -~\n]{0,30}",
        nonsense().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    ];
    let key = prop_oneof![
        Just("kind".to_owned()),
        Just("data".to_owned()),
        Just("type".to_owned()),
        Just("name".to_owned()),
        Just("value".to_owned()),
        Just("password".to_owned()),
        Just("auths".to_owned()),
        Just("auth".to_owned()),
        Just("items".to_owned()),
        "[a-z\"\\\\]{0,5}"
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        Just(Value::from("Secret")),
        Just(Value::from("SecretList")),
        text.prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// The same containers, keys and numbers; strings may differ.
fn same_shape(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.values().zip(b.values()).all(|(a, b)| same_shape(a, b))
        }
        (Value::String(_), Value::String(_)) => true,
        _ => a == b,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_does_no_harm_wherever_it_is_cut(input in nonsense(), piece in 1_usize..64) {
        let engine = engine();
        for format in [Format::Text, Format::Json, Format::Yaml] {
            let whole = mask(&engine, format, &input, input.len().max(1));
            let parts = mask(&engine, format, &input, piece);
            prop_assert_eq!(whole.is_ok(), parts.is_ok(), "{:?}", format);
            if let (Ok(whole), Ok(parts)) = (whole, parts) {
                prop_assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&parts), "{:?}", format);
            }
        }
    }

    #[test]
    fn what_was_json_is_json_of_the_same_shape(value in json(), pretty in any::<bool>(), piece in 1_usize..200) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let out = mask(&engine(), Format::Json, text.as_bytes(), piece).unwrap();
        let again: serde_json::Value = serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)));
        prop_assert!(same_shape(&value, &again), "{value} -> {again}");
    }
}

#[test]
fn a_million_levels_are_refused() {
    let engine = engine();
    let deep = "[".repeat(1_000_000);
    assert!(matches!(mask(&engine, Format::Json, deep.as_bytes(), 65_536), Err(Fault::Depth(_))));
    let nested = format!("{{\"a\":\"{deep}\"}}");
    assert!(mask(&engine, Format::Json, nested.as_bytes(), 65_536).is_ok());
}

#[test]
fn a_stream_that_ends_in_a_value_gives_nothing_of_it() {
    let engine = engine();
    let mut masker = Masker::new(Format::Json);
    let mut out = Vec::new();
    masker.push(&engine, b"{\"kind\":\"Secret\",\"data\":{\"p\":\"aHVudG", &mut out, &mut Report::default()).unwrap();
    assert!(matches!(masker.finish(&engine, &mut out, &mut Report::default()), Err(Fault::Truncated)));
    assert_eq!(String::from_utf8(out).unwrap(), "{\"kind\":\"Secret\",\"data\":{\"p\":");
}

#[test]
fn a_string_without_end_is_hidden() {
    let engine = engine();
    let long = format!("{{\"a\":\"{}\",\"b\":1}}", "k3J9xQ2m".repeat(1_000_000));
    let out = String::from_utf8(mask(&engine, Format::Json, long.as_bytes(), 65_536).unwrap()).unwrap();
    assert!(out.starts_with("{\"a\":\"<guard:unbounded:") && out.ends_with(">\",\"b\":1}"), "{out:.200}");
}
