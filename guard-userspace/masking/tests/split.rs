//! What leaves is the same wherever the stream is cut.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guard_masking::{Engine, Fault, Finding, Format, Masker, Policy, Report, ScopeKey};
use proptest::prelude::*;

fn engine() -> Engine {
    Engine::new(ScopeKey::derive(&[1; 32], "split"), Policy::default()).unwrap()
}

fn mask<'a>(
    engine: &Engine,
    format: Format,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, Vec<Finding>), Fault> {
    let mut masker = Masker::new(format);
    let (mut out, mut report) = (Vec::new(), Report::keeping());
    for piece in pieces {
        masker.push(engine, piece, &mut out, &mut report)?;
    }
    masker.finish(engine, &mut out, &mut report)?;
    Ok((out, report.take()))
}

fn key(lines: usize) -> String {
    let body = "MIIEpAIBAAKCAQEA7bq3Hc0uJf9KXk2vQwPz4rT6yLm8sNdGhVxYtR1eWoUiPaZq\n".repeat(lines);
    format!("-----BEGIN RSA PRIVATE KEY-----\n{body}-----END RSA PRIVATE KEY-----\n")
}

fn texts() -> Vec<String> {
    let github = "ghp_Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4eFgHi";
    vec![
        format!("2026-11-22 token {github} used\n"),
        format!("a {github}"),
        "login: root\nPassword: hunter2\n$ ".to_owned(),
        "export DB_PASSWORD='s3cr3t value' A=1\n".to_owned(),
        format!("{{\"msg\":\"{{\\\"password\\\":\\\"hunter2\\\"}}\",\"x\":\"{github}\"}}\n"),
        "dial postgres://app:p%40ss@db:5432/x?sslmode=require and http://h:80/y\n".to_owned(),
        "root:hunter2@tcp(127.0.0.1:3306)/db at 12:30:45\n".to_owned(),
        key(4),
        format!("x={} y={}\n", STANDARD.encode("user: a\npassword: hunter2\n"), STANDARD.encode("nothing here at all")),
        "Authorization: Bearer k3J9xQ2mZ8pLw4Rt7Yv1\nCookie: session=k3J9xQ2mZ8pL; a=b\n".to_owned(),
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.k3J9xQ2mZ8pLw4Rt7Yv1 and 110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1\n".to_owned(),
        "9f86d081884c7d659a2feaa0c55ad015-us14 9f86d081884c7d659a2feaa0c55ad0159f86NRAL\n".to_owned(),
        "<user>a</user><password>hunter2</password> Server=db;Password=hunter2;User Id=sa\n".to_owned(),
        "- name: DB_PASSWORD\n  value: hunter2\n- name: A\n  value: b\n".to_owned(),
        "commit 9f86d081884c7d659a2feaa0c55ad0159a2feaa0 in /usr/share/doc/kubernetes/secret password: must be set\n".to_owned(),
    ]
}

fn documents() -> Vec<String> {
    let data = STANDARD.encode("hunter2");
    vec![
        format!("{{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"a\"}},\"data\":{{\"p\":\"{data}\"}},\"type\":\"Opaque\"}}\n"),
        format!("{{\n  \"apiVersion\": \"v1\",\n  \"data\": {{\n    \"p\": \"{data}\"\n  }},\n  \"kind\": \"Secret\"\n}}\n"),
        format!("{{\"apiVersion\":\"v1\",\"data\":{{\"p\":\"{data}\"}},\"kind\":\"ConfigMap\"}}"),
        format!("{{\"kind\":\"SecretList\",\"items\":[{{\"data\":{{\"p\":\"{data}\"}}}},{{\"stringData\":{{\"p\":\"x\"}}}}]}}"),
        format!("{{\"type\":\"ADDED\",\"object\":{{\"kind\":\"Secret\",\"data\":{{\"p\":\"{data}\"}}}}}}\n{{\"type\":\"ADDED\",\"object\":{{\"kind\":\"Pod\"}}}}\n"),
        "{\"env\":[{\"name\":\"DB_PASSWORD\",\"value\":\"hunter2\"},{\"value\":\"hunter3\",\"name\":\"DB_PASSWORD\"},{\"value\":\"plain\",\"name\":\"A\"}],\"n\":-1.5e3,\"t\":true}".to_owned(),
        "{\"a\":\"\\u0067hp_Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4eFgHi \\\"x\\\" \\ud83d\\ude00\",\"b\":\"{\\\"password\\\":\\\"hunter2\\\"}\"}".to_owned(),
    ]
}

fn manifests() -> Vec<String> {
    let data = STANDARD.encode("hunter2");
    vec![
        format!("apiVersion: v1\ndata:\n  p: {data}\n  q: |\n    {data}\n    {data}\nkind: Secret\nmetadata:\n  name: a\ntype: Opaque\n"),
        format!("apiVersion: v1\nitems:\n- data:\n    p: {data}\n  metadata:\n    name: a\n  type: Opaque\n- data: null\n  type: Opaque\nkind: SecretList\n"),
        format!("kind: List\nitems:\n- apiVersion: v1\n  data:\n    p: plain\n  kind: ConfigMap\n- apiVersion: v1\n  kind: Secret\n  stringData:\n    p: \"hunter2\"\n"),
        format!("kind: Secret\ndata: {{p: {data}}}\n---\n# kind: Secret\nkind: ConfigMap\ndata:\n  a: b\n"),
        "spec:\n  containers:\n  - name: web\n    env:\n    - name: DB_PASSWORD\n      value: hunter2\n    - name: A\n      value: 'b'\n    args: [\"--password=hunter2\", x]\n".to_owned(),
        format!("data:\n  key: |\n{}\n  password: \"hun\\x41ter2\"\n  a: b # comment\nkind: ConfigMap\n", key(3).lines().fold(String::new(), |text, line| text + "    " + line + "\n")),
        "{\"kind\":\"Secret\",\"data\":{\"p\":\"aHVudGVyMg==\"}}\n".to_owned(),
    ]
}

#[test]
fn a_secret_in_yaml_is_hidden_by_structure_and_stays_yaml() {
    let engine = engine();
    for text in manifests() {
        let (out, _) = mask(&engine, Format::Yaml, [text.as_bytes()].into_iter()).unwrap();
        let out = String::from_utf8(out).unwrap();
        for secret in ["aHVudGVyMg", "hunter2", "MIIEpAIB"] {
            assert!(!out.contains(secret), "{text}\n{out}");
        }
        for plain in
            ["apiVersion: v1", "  name: a", "p: plain", "  a: b", "type: Opaque", "value: 'b'", "# kind: Secret"]
        {
            assert_eq!(out.contains(plain), text.contains(plain), "{plain}: {text}\n{out}");
        }
        assert_eq!(
            out.lines().filter(|line| line.ends_with(':')).count(),
            text.lines().filter(|line| line.ends_with(':')).count(),
            "{out}"
        );
    }
}

#[test]
fn one_cut_anywhere_changes_nothing() {
    let engine = engine();
    let texts = texts().into_iter().map(|text| (Format::Text, text));
    let manifests = manifests().into_iter().map(|text| (Format::Yaml, text));
    for (format, text) in texts.chain(documents().into_iter().map(|text| (Format::Json, text))).chain(manifests) {
        let bytes = text.as_bytes();
        let whole = mask(&engine, format, [bytes].into_iter()).unwrap();
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            let split = mask(&engine, format, [a, b].into_iter()).unwrap();
            assert_eq!(String::from_utf8_lossy(&split.0), String::from_utf8_lossy(&whole.0), "{text:?} cut at {cut}");
            assert_eq!(split.1, whole.1, "{text:?} cut at {cut}");
        }
        let single = mask(&engine, format, bytes.chunks(1)).unwrap();
        assert_eq!(String::from_utf8_lossy(&single.0), String::from_utf8_lossy(&whole.0), "{text:?} byte by byte");
    }
}

#[test]
fn something_too_long_is_hidden_to_its_end_wherever_it_is_cut() {
    let engine = engine();
    let long = format!("before password={} after\n{}then\n", "k3J9xQ2m".repeat(20_000), key(2_000));
    let whole = mask(&engine, Format::Text, [long.as_bytes()].into_iter()).unwrap();
    let text = String::from_utf8(whole.0.clone()).unwrap();
    assert!(
        text.starts_with("before password=") && text.contains(" after\n") && text.len() < 400,
        "{}",
        &text[..200.min(text.len())]
    );
    assert!(!text.contains("k3J9xQ2m") && !text.contains("MIIEpAIB"), "{text}");
    for size in [997, 4096, 65_536, 100_000] {
        assert_eq!(mask(&engine, Format::Text, long.as_bytes().chunks(size)).unwrap(), whole, "in pieces of {size}");
    }
}

#[test]
fn what_can_be_no_finding_leaves_at_once() {
    let engine = engine();
    for (text, left) in [
        ("root@web-1:/# ", "root@web-1:/# "),
        ("Password:", "Password:"),
        ("Password: ", "Password: "),
        ("password: hun", "password: "),
        ("the key is ghp_Ab3dEf6hIj9l", "the key is "),
        ("ls -la\n", "ls -la\n"),
        ("mysql>", "mysql>"),
    ] {
        let mut masker = Masker::new(Format::Text);
        let mut out = Vec::new();
        masker.push(&engine, text.as_bytes(), &mut out, &mut Report::default()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), left);
    }
}

fn piece() -> impl Strategy<Value = String> {
    let samples = texts();
    prop_oneof![
        3 => (0..samples.len()).prop_map(move |number| samples[number].clone()),
        1 => "[ -~\n]{0,40}",
        1 => "(ghp_|eyJ|password|token|://|=|: |\"|'|AKIA|-----BEGIN |\\\\n|%3A|@tcp\\(|Bearer |[A-Za-z0-9+/]{1,20}){1,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_anywhere_change_nothing(pieces in prop::collection::vec(piece(), 1..5), cuts in prop::collection::vec(0_usize..2_000, 0..8)) {
        let engine = engine();
        let text = pieces.concat();
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut from = 0;
        let parts: Vec<&[u8]> = cuts.iter().map(|cut| &bytes[std::mem::replace(&mut from, *cut)..*cut]).collect();
        let whole = mask(&engine, Format::Text, [bytes].into_iter()).unwrap();
        let split = mask(&engine, Format::Text, parts.into_iter()).unwrap();
        prop_assert_eq!(String::from_utf8_lossy(&split.0), String::from_utf8_lossy(&whole.0));
    }
}
