//! What a pod sees while its neighbour attacks the guard: p99 of small requests, beside its own when it is quiet, on a real cluster.
//!
//! `cargo xtask bench limits [--json FILE]`. The attacker is a pod with a limit on its processor (a quarter of one), as a pod has where
//! anybody cares: what it burns by itself would slow its neighbour without any guard. Quiet and attack take turns, so both see
//! the same weather. The API server, etcd and both pods share the machine with the guard.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't be set up has nothing to say")]

use std::path::PathBuf;

use guard_e2e::harness::{Siege, World};
use guard_e2e::probe::gets::Latencies;
use serde::Serialize;

/// The probe's names. The one that holds lists open needs lists, and has its own test.
const ATTACKS: [&str; 16] = [
    "connections",
    "idle",
    "handshakes",
    "half-handshakes",
    "headers",
    "header-lines",
    "large-heads",
    "slow-writers",
    "large-bodies",
    "rapid-reset",
    "streams",
    "continuation",
    "settings",
    "ping",
    "window-updates",
    "one-byte-frames",
];
const ROUNDS: usize = 2;
const SECONDS: u64 = 5;
/// At most so many times its own quiet p99.
const TARGET: f64 = 2.0;

/// One figure.
#[derive(Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it is compared with, in the same unit.
    baseline: Option<f64>,
    /// `value / baseline`.
    ratio: Option<f64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().position(|argument| argument == "--json").map(|at| PathBuf::from(&arguments[at + 1]));
    let world = World::guarded();
    let siege = Siege::lay(&world);
    let mut rows = Vec::new();
    for attack in ATTACKS {
        let path = if matches!(attack, "large-bodies" | "slow-writers") {
            "/api/v1/namespaces/default/configmaps"
        } else {
            "/version"
        };
        let (mut quiet, mut under) = (Latencies::default(), Latencies::default());
        let mut memory = 0;
        for _ in 0..ROUNDS {
            add(&mut quiet, siege.quiet(SECONDS));
            let outcome = siege.attack(attack, path, SECONDS);
            memory = memory.max(outcome.memory_peak);
            add(&mut under, outcome.neighbour);
        }
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let [own, attacked] = [&quiet, &under].map(|latencies| micros(latencies.percentile(share)));
            rows.push(row(format!("{name}/{attack}"), attacked, "us", Some(own)));
        }
        rows.push(row(format!("failed/{attack}"), count(under.failed.len()), "requests", None));
        rows.push(row(format!("memory/{attack}"), micros(memory), "bytes", None));
        let last = rows.len() - 3;
        let ratio = rows[last].ratio.unwrap();
        println!(
            "{} {attack:<16} p99 {:>8.0} us, quiet {:>8.0} us, {ratio:>5.2} x; {} failed of {}; the guard held {} MB",
            if ratio <= TARGET && under.failed.is_empty() { "met   " } else { "MISSED" },
            rows[last].value,
            rows[last].baseline.unwrap(),
            under.failed.len(),
            under.failed.len() + under.micros.len(),
            memory >> 20
        );
    }
    if let Some(file) = json {
        std::fs::write(&file, serde_json::to_string_pretty(&rows).unwrap()).unwrap();
    }
}

fn add(sum: &mut Latencies, more: Latencies) {
    sum.micros.extend(more.micros);
    sum.failed.extend(more.failed);
}

fn row(name: String, value: f64, unit: &'static str, baseline: Option<f64>) -> Row {
    Row { name, value, unit, baseline, ratio: baseline.map(|baseline| value / baseline) }
}

#[allow(clippy::cast_precision_loss, reason = "microseconds and bytes are far below 2^52")]
fn micros(value: u64) -> f64 {
    value as f64
}

fn count(value: usize) -> f64 {
    micros(u64::try_from(value).unwrap())
}
