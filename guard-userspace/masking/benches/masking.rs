//! How fast masking is on one core, in process: a list of pods, compact and pretty, and logs; beside a copy, memchr and a `RegexSet`.
//!
//! `cargo xtask bench masking [--json FILE]`. CPU time of the process, so that a busy machine makes little difference; the best of some rounds.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't be set up has nothing to say")]

use std::hint::black_box;
use std::{env, fs};

use guard_masking::{Engine, Format, Masker, Policy, Report, ScopeKey};
use serde_json::{Value, json};

const ROUNDS: usize = 3;
const LEAST_SECONDS: f64 = 0.2;
/// Bytes that a proxy reads at once.
const CHUNK: usize = 64 * 1024;
const PODS: u64 = 5_000;
const LINES: u64 = 60_000;

fn main() {
    let engine = Engine::new(ScopeKey::derive(&[1; 32], "bench"), Policy::default()).unwrap();
    let list = list();
    let inputs = [
        ("JSON list", Format::Json, serde_json::to_vec(&list).unwrap()),
        ("JSON list, pretty", Format::Json, serde_json::to_vec_pretty(&list).unwrap()),
        ("logs", Format::Text, logs()),
    ];
    let set = regex::bytes::RegexSet::new([
        "ghp_[A-Za-z0-9]{36}",
        "AKIA[A-Z0-9]{16}",
        "xox[bp]-[0-9A-Za-z-]{20,}",
        "-----BEGIN [A-Z ]*PRIVATE KEY",
    ])
    .unwrap();
    let mut rows = Vec::new();
    for (name, format, input) in &inputs {
        let masking = best(input, |input| mask(&engine, *format, input));
        let copy = best(input, |input| input.chunks(CHUNK).map(|chunk| black_box(chunk.to_vec()).len()).sum());
        let search = best(input, |input| memchr::memchr_iter(0, input).count());
        // Four expressions stand for the few hundred.
        let expressions = best(input, |input| input.chunks(CHUNK).filter(|chunk| set.is_match(chunk)).count());
        println!(
            "{name:20} masking {masking:6.0} MB/s   copy {copy:6.0}   memchr {search:6.0}   RegexSet of four {expressions:6.0}"
        );
        rows.push(json!({"input": name, "bytes": input.len(), "masking": masking, "copy": copy, "memchr": search, "regex_set": expressions}));
    }
    let mut arguments = env::args();
    if arguments.any(|argument| argument == "--json") {
        let file = arguments.next().expect("--json has a file");
        fs::write(file, serde_json::to_string_pretty(&rows).unwrap() + "\n").unwrap();
    }
}

fn mask(engine: &Engine, format: Format, input: &[u8]) -> usize {
    let mut masker = Masker::new(format);
    let (mut out, mut report, mut count) = (Vec::new(), Report::default(), 0);
    for chunk in input.chunks(CHUNK) {
        masker.push(engine, chunk, &mut out, &mut report).unwrap();
        count += out.len();
        out.clear();
    }
    masker.finish(engine, &mut out, &mut report).unwrap();
    count + out.len()
}

/// Megabytes per second of CPU time.
fn best(input: &[u8], work: impl Fn(&[u8]) -> usize) -> f64 {
    // The scheduler counts at its ticks: short work is repeated.
    let rate = |_| {
        let (start, mut bytes) = (cpu_seconds(), 0.0);
        loop {
            black_box(work(black_box(input)));
            bytes += f64::from(u32::try_from(input.len()).unwrap());
            let seconds = cpu_seconds() - start;
            if seconds >= LEAST_SECONDS {
                return bytes / seconds / 1e6;
            }
        }
    };
    (0..ROUNDS).map(rate).fold(0.0, f64::max)
}

/// Time on a processor, by the scheduler's count (Documentation/scheduler/sched-stats.rst).
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn hex(seed: u64, count: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut digit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b"0123456789abcdef"[usize::try_from(state >> 60).unwrap()])
    };
    (0..count).map(|_| digit()).collect()
}

fn list() -> Value {
    let pod = |number: u64| {
        json!({
            "metadata": {
                "name": format!("web-{}-{}", hex(number, 10), hex(number, 5)), "namespace": "shop", "uid": hex(number, 36), "resourceVersion": number.to_string(),
                "labels": {"app": "web", "pod-template-hash": hex(1, 10)},
                "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {"f:conditions": {"k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}}}}}}]
            },
            "spec": {
                "containers": [{"name": "web", "image": format!("registry.example.com/shop/web@sha256:{}", hex(1, 64)), "env": [{"name": "LOG_LEVEL", "value": "info"}],
                    "volumeMounts": [{"name": "kube-api-access", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
                "serviceAccountName": "default", "nodeName": "n1"
            },
            "status": {"phase": "Running", "podIP": "10.244.1.7", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-22T03:04:05Z"}]}
        })
    };
    json!({"kind": "PodList", "apiVersion": "v1", "items": (0..PODS).map(pod).collect::<Vec<_>>()})
}

fn logs() -> Vec<u8> {
    let line = |number: u64| {
        format!(
            "I1122 03:04:05.678901       1 controller.go:123] \"Reconciling\" pod=\"shop/web-{}\" requestID={} path=/api/v1/pods status=200\n",
            hex(number, 10),
            hex(number, 36)
        )
    };
    (0..LINES).map(line).collect::<String>().into_bytes()
}
