//! What the guard costs exec, cp, port-forward, new connections and idle watches: beside a TLS server reached directly, and beside a
//! plain relay (TLS ended and begun again, nothing understood). Same client, same run.
//!
//! `cargo bench -p guard-proxy --bench streams -- [--quick] [--json FILE]`
//!
//! The server says what an API server with a kubelet says, without either behind it: what is measured is the way, and nothing hides its
//! price. Each party has a thread and a runtime of its own; rounds are interleaved.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't set up its parties has nothing to say")]

#[path = "../relay/guard.rs"]
mod guard;
#[path = "../relay/party.rs"]
mod party;
mod report;
mod server;
#[path = "../relay/servers.rs"]
#[allow(dead_code, reason = "its server of plain answers is the other benchmark's")]
mod servers;
mod stream;
#[path = "../relay/token.rs"]
mod token;
mod watches;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use guard_proxy::Limits;
use party::Party;
use report::Report;
use servers::Certified;
use stream::Stream;

/// The allocator of the `guard` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Size of a run.
struct Effort {
    rounds: usize,
    /// Bytes of one copy.
    bytes: u64,
    /// Messages that are echoed, each round.
    echoes: usize,
    /// New connections in all.
    connections: usize,
    /// Idle watches.
    watches: usize,
}

const FULL: Effort = Effort { rounds: 3, bytes: 1 << 30, echoes: 2000, connections: 5000, watches: 10_000 };
const QUICK: Effort = Effort { rounds: 1, bytes: 128 << 20, echoes: 300, connections: 250, watches: 500 };

/// What one path did.
#[derive(Default)]
struct Figures {
    echo: Vec<Duration>,
    download: Vec<f64>,
    upload: Vec<f64>,
    forward: Vec<f64>,
    /// The same by CPU time of the party between the ends.
    per_core: [Vec<f64>; 3],
    /// Connections each second.
    connections: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1).cloned())
    };
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::sink).init();
    if let (Some(path), Some(count)) = (after("--watches-through"), after("--count")) {
        // A process of its own, whose memory nothing else has touched.
        println!("{}", watches::growth(&path, count.parse().unwrap()));
        return;
    }
    let effort = if arguments.iter().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let tls = Certified::new();
    let server = server::start(&tls);
    let relay = servers::relay(&tls, server.address);
    // The handshakes are to take what they take.
    let limits = Limits { handshakes_per_second: 1_000_000, connections: 100_000, ..Limits::default() };
    let (guard, token) = guard::guard(&tls, server.address, limits);
    let paths = [("direct", &server), ("relay", &relay), ("guard", &guard)];

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let figures = runtime.block_on(measure(&tls, &paths, &token, &effort));
    let mut report = Report::default();
    report.add(&paths.map(|(name, _)| name), &figures);
    report.add_memory(&watches::each_in_a_process(effort.watches));
    report.print();
    if let Some(file) = after("--json") {
        std::fs::write(&file, report.json()).unwrap();
    }
}

async fn measure(tls: &Certified, paths: &[(&str, &Party); 3], token: &str, effort: &Effort) -> [Figures; 3] {
    let mut figures = <[Figures; 3]>::default();
    for _ in 0..effort.rounds {
        for ((_, party), figures) in paths.iter().zip(&mut figures) {
            let mut exec = Stream::exec(tls, party.address, token, "echo").await;
            exec.echoes(effort.echoes / 10).await;
            figures.echo.extend(exec.echoes(effort.echoes).await);
            let bytes = effort.bytes;
            let timed = |before: Duration, start: Instant| {
                let cpu = party.cpu_time().saturating_sub(before);
                (rate(bytes, start.elapsed()), rate(bytes, cpu))
            };
            let mut exec = Stream::exec(tls, party.address, token, &format!("send/{bytes}")).await;
            let (before, start) = (party.cpu_time(), Instant::now());
            exec.download(bytes).await;
            let (wall, core) = timed(before, start);
            figures.download.push(wall);
            figures.per_core[0].push(core);

            let mut exec = Stream::exec(tls, party.address, token, &format!("take/{bytes}")).await;
            let (before, start) = (party.cpu_time(), Instant::now());
            exec.upload(bytes).await;
            let (wall, core) = timed(before, start);
            figures.upload.push(wall);
            figures.per_core[1].push(core);

            let mut forward = Stream::forward(tls, party.address, token, bytes).await;
            let (before, start) = (party.cpu_time(), Instant::now());
            forward.forwarded(bytes).await;
            let (wall, core) = timed(before, start);
            figures.forward.push(wall);
            figures.per_core[2].push(core);
        }
    }
    for ((_, party), figures) in paths.iter().zip(&mut figures) {
        figures.connections = connections(tls, party.address, token, effort.connections).await;
    }
    figures
}

/// How many connections, one request on each, a second sees; sixteen at a time.
async fn connections(tls: &Certified, address: SocketAddr, token: &str, count: usize) -> f64 {
    const AT_ONCE: usize = 16;
    let start = Instant::now();
    let one = || async {
        for _ in 0..count / AT_ONCE {
            Stream::get(tls, address, token).await;
        }
    };
    let all: Vec<_> = (0..AT_ONCE).map(|_| Box::pin(one())).collect();
    join_all(all).await;
    rate(u64::try_from(count / AT_ONCE * AT_ONCE).unwrap(), start.elapsed())
}

async fn join_all<F: Future<Output = ()> + Unpin>(mut all: Vec<F>) {
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| std::pin::Pin::new(one).poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[allow(clippy::cast_precision_loss, reason = "sizes here are far below 2^53")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
