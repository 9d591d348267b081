//! What passes, Go's `net/http` takes for as many requests, with not a byte left: the API server reads what the guard read.

#![allow(clippy::unwrap_used, reason = "an oracle that can't be asked is a failed test")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use guard_http1::{Limits, Requests};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

mod hostile;

const LIMITS: Limits = Limits { bytes: 4096, fields: 20 };
/// Connections made of inputs that pass.
const CONNECTIONS: usize = 5_000;

/// How many requests these bytes are, if they are whole ones, and nothing but HTTP.
fn requests(bytes: &[u8]) -> Option<u64> {
    let mut requests = Requests::new(LIMITS);
    let mut passed = Vec::new();
    let whole = requests.feed(bytes, &mut passed).is_ok() && passed.len() == bytes.len() && !requests.is_in_body();
    let upgrade = bytes.windows(8).any(|name| name.eq_ignore_ascii_case(b"upgrade:"));
    (whole && !upgrade).then(|| requests.heads())
}

/// The tables and what the fuzzer found; and of those that pass several in a row, with bytes changed.
fn inputs() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/requests");
    let found = fs::read_dir(corpus).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap().split_off(1));
    let tables = hostile::WELL_FORMED.iter().map(|(_, bytes)| bytes.to_vec());
    let tables = tables.chain(hostile::MALFORMED.iter().map(|(_, bytes, _)| bytes.to_vec()));
    let chunks = hostile::BROKEN_CHUNKS.iter().map(|(_, chunks, _)| {
        [&b"POST /a HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n"[..], chunks].concat()
    });
    let mut all: Vec<Vec<u8>> = found.chain(tables).chain(chunks).filter(|bytes| !bytes.is_empty()).collect();
    let pass: Vec<Vec<u8>> = all.iter().filter(|bytes| requests(bytes).is_some()).cloned().collect();
    let row = prop::collection::vec(prop::sample::select(pass), 1..4);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), b' '..=b'~'), 0..3);
    let mut runner = TestRunner::deterministic();
    for _ in 0..CONNECTIONS {
        let (row, changes) = (&row, &changes).new_tree(&mut runner).unwrap().current();
        let mut bytes = row.concat();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        all.push(bytes);
    }
    all
}

#[test]
fn what_passes_is_as_many_requests_for_go() {
    let passing: Vec<(Vec<u8>, u64)> =
        inputs().into_iter().filter_map(|bytes| requests(&bytes).map(|count| (bytes, count))).collect();
    assert!(passing.len() > 500, "only {} pass", passing.len());
    let mut lines = String::new();
    for (bytes, _) in &passing {
        for byte in bytes {
            write!(lines, "{byte:02x}").unwrap();
        }
        lines.push('\n');
    }
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/go/http1");
    let mut go = Command::new("go")
        .args(["run", "."])
        .current_dir(oracle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Go on PATH, as for everything in tests/go");
    let mut stdin = go.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = go.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success());
    let answers = String::from_utf8(output.stdout).unwrap();
    assert_eq!(answers.lines().count(), passing.len());
    for ((bytes, count), answer) in passing.iter().zip(answers.lines()) {
        // Percent-encoding is judged by `guard-kube-request`, which refuses it as well.
        if answer.contains("invalid URL escape") {
            continue;
        }
        assert_eq!(answer, count.to_string(), "{:?}", String::from_utf8_lossy(bytes));
    }
}
