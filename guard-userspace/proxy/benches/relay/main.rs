//! What the guard costs: throughput per core and latency of a client that reaches a TLS server directly, through a plain
//! relay (TLS ended and begun again, no HTTP), and through the guard's whole pipeline. Same client, same run.
//!
//! `cargo bench -p guard-proxy --bench relay -- [--quick] [--json FILE]`
//!
//! Each party has a thread and a runtime of its own. Throughput per core is bytes over the CPU time of the thread between
//! the ends, so what else runs on the machine changes it little. Rounds are interleaved: all paths see the same weather.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't set up its parties has nothing to say")]

mod client;
mod guard;
mod party;
mod report;
mod servers;
mod token;

use std::time::Duration;

use client::{Client, Protocol};
use party::Party;
use report::Report;

/// The allocator of the `guard` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Size of a run.
struct Effort {
    rounds: usize,
    /// Bytes of one large answer.
    bytes: u64,
    /// Requests for one figure of latency, each round.
    requests: usize,
}

const FULL: Effort = Effort { rounds: 7, bytes: 256 << 20, requests: 2000 };
const QUICK: Effort = Effort { rounds: 3, bytes: 64 << 20, requests: 300 };

/// What one path did for one protocol.
#[derive(Default)]
struct Figures {
    /// Bytes per second of CPU time of the party between the ends.
    per_core: Vec<f64>,
    /// Bytes per second.
    wall: Vec<f64>,
    latency: Vec<Duration>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().position(|argument| argument == "--json").map(|at| arguments[at + 1].clone());
    let effort = if arguments.iter().any(|argument| argument == "--quick") { QUICK } else { FULL };

    // The line of each exchange is made and thrown away: writing it is the terminal's or the collector's business.
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::sink).init();
    let tls = servers::Certified::new();
    let origin = servers::origin(&tls);
    let relay = servers::relay(&tls, origin.address);
    let (guard, token) = guard::guard(&tls, origin.address, guard_proxy::Limits::default());
    let paths = [("direct", &origin), ("relay", &relay), ("guard", &guard)];

    let mut report = Report::default();
    for protocol in [Protocol::Http2, Protocol::Http11] {
        let figures = measure(&tls, &paths, protocol, &token, &effort);
        report.add(protocol.name(), &figures);
    }
    report.print();
    if let Some(file) = json {
        std::fs::write(&file, report.json()).unwrap();
    }
}

fn measure(
    tls: &servers::Certified,
    paths: &[(&'static str, &Party); 3],
    protocol: Protocol,
    token: &str,
    effort: &Effort,
) -> Vec<(&'static str, Figures)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut clients = Vec::new();
        for (_, party) in paths {
            let mut client = Client::connect(tls, party.address, protocol, token).await;
            client.download(effort.bytes / 8).await;
            client.latencies(effort.requests / 4).await;
            clients.push(client);
        }
        let mut figures: Vec<Figures> = paths.iter().map(|_| Figures::default()).collect();
        for _ in 0..effort.rounds {
            for (n, (_, party)) in paths.iter().enumerate() {
                let before = party.cpu_time();
                let wall = clients[n].download(effort.bytes).await;
                let cpu = party.cpu_time().saturating_sub(before);
                figures[n].per_core.push(rate(effort.bytes, cpu));
                figures[n].wall.push(rate(effort.bytes, wall));
            }
            for (n, client) in clients.iter_mut().enumerate() {
                figures[n].latency.extend(client.latencies(effort.requests).await);
            }
        }
        paths.iter().map(|(name, _)| *name).zip(figures).collect()
    })
}

#[allow(clippy::cast_precision_loss, reason = "sizes here are far below 2^53")]
fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64()
}
