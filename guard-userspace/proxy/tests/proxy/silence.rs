//! Packets are lost from some moment on, and nobody says so: no end, no reset.

use std::{io, time::Duration};

use guard_proxy::Timeouts;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::subscriber::DefaultGuard;

use crate::{
    bed::*,
    streaming::{api_with_stream, next},
    upgrades::{Stream, exec_through, say, switching},
};

/// A peer without a word is gone after `PING` and `UNANSWERED`, and a third of that until somebody looks.
const PING: Duration = Duration::from_secs(1);
const UNANSWERED: Duration = Duration::from_millis(1500);
/// How long a test waits for that. Ample: a machine that stands still for a while is no error of the guard's.
const NOTICED: Duration = Duration::from_secs(20);
/// Longer than a dead peer would go unnoticed.
const QUIET: Duration = Duration::from_secs(4);

fn impatient() -> BedOptions {
    let timeouts = Timeouts { ping: PING, unanswered: UNANSWERED, ..Timeouts::default() };
    BedOptions { timeouts, ..BedOptions::default() }
}

/// A watch that has shown its first event, with what sends further ones.
struct Watch {
    body: Incoming,
    pieces: mpsc::Sender<Piece>,
    bed: Bed,
    api: Api,
    _client: Client,
}

async fn watch(upstream: &'static [u8], client: &ClientOptions) -> Watch {
    let (api, pieces) = api_with_stream(upstream).await;
    let bed = Bed::with(&api, impatient()).await;
    let mut client = bed.client(client).await;
    let mut body = client.send(get("/api/v1/pods?watch=1")).await.unwrap().into_body();
    pieces.send(Ok("{}\n".into())).await.unwrap();
    assert_eq!(next(&mut body).await, "{}\n");
    Watch { body, pieces, bed, api, _client: client }
}

/// Streams of every kind, which were quiet for a while.
struct Opened {
    lines: Lines,
    watches: Vec<Watch>,
    bed: Bed,
    api: Api,
    /// Both ends of an exec that is to stay without a word.
    idle: (Stream, Stream),
    /// Both ends of another.
    busy: (Stream, Stream),
    _held: (DefaultGuard, [Client; 2]),
}

/// Watches of API servers that speak one or the other, and execs, in a network of their own.
async fn open_streams(upstreams: &[&'static [u8]]) -> Opened {
    enter_own_network();
    let (lines, guard) = Lines::collect();
    let mut watches = Vec::new();
    for upstream in upstreams {
        for client in ClientOptions::each() {
            watches.push(watch(upstream, &client).await);
        }
    }
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::with(&api, impatient()).await;
    let (first, mut idle, mut idle_far) = exec_through(&bed, &mut switched).await;
    let (second, busy, busy_far) = exec_through(&bed, &mut switched).await;

    // While probes are answered, quiet streams stay.
    tokio::time::sleep(QUIET).await;
    assert_eq!(lines.outcomes(), [""; 0]);
    say(&mut idle, &mut idle_far, "still here").await;
    let (idle, busy) = ((idle, idle_far), (busy, busy_far));
    Opened { lines, watches, bed, api, idle, busy, _held: (guard, [first, second]) }
}

/// Waits for the end of what is read, which is to be a reset.
async fn breaks(what: &str, stream: &mut Stream) {
    let mut buffer = [0; 4096];
    let end = timeout(NOTICED, async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    });
    let end = end.await.unwrap_or_else(|_| panic!("{what} still goes on after {NOTICED:?}"));
    assert_eq!(end.expect_err(what).kind(), io::ErrorKind::ConnectionReset, "{what}");
}

/// Writes until nothing is taken any more; how many bytes were.
async fn fill(stream: &mut Stream) -> usize {
    let piece = vec![7; 1 << 16];
    let mut total = 0;
    while let Ok(written) = timeout(Duration::from_millis(300), stream.write(&piece)).await {
        total += written.unwrap();
    }
    total
}

/// Reads at last what was written, the end of which the writer still holds.
async fn drain(from: &mut Stream, to: &mut Stream, total: usize) {
    let read = async {
        let mut buffer = vec![0; 1 << 16];
        let mut received = 0;
        while received < total {
            let read = soon("what was held back", to.read(&mut buffer)).await.unwrap();
            assert_ne!(read, 0, "ended after {received} of {total} bytes");
            received += read;
        }
    };
    let ((), flushed) = tokio::join!(read, from.flush());
    flushed.unwrap();
}

#[tokio::test]
async fn an_api_server_that_falls_silent_ends_watches_and_upgraded_streams_without_a_clean_end() {
    let opened = open_streams(&[HTTP11, H2]).await;
    let Opened { lines, mut watches, bed, api, idle: (mut idle, _idle_far), busy: (mut busy, mut busy_far), .. } =
        opened;
    say(&mut busy_far, &mut busy, "still here").await;

    let mut ports: Vec<u16> = watches.iter().map(|watch| watch.api.address.port()).collect();
    ports.push(api.address.port());
    lose_packets(&ports);
    let lost = Instant::now();
    busy.write_all(b"stdin that nobody acknowledges").await.unwrap();
    breaks("an exec with input under way", &mut busy).await;
    breaks("an exec without a word", &mut idle).await;
    for watch in &mut watches {
        let end = timeout(NOTICED, watch.body.frame()).await.expect("an end");
        assert!(end.is_some_and(|end| end.is_err()), "a watch ended clean");
    }
    assert!(lost.elapsed() < NOTICED, "{:?}", lost.elapsed());
    let streams = watches.len() + 2;
    until("the lines", || lines.outcomes().len() == streams).await;
    assert_eq!(lines.outcomes(), vec!["upstream_broken"; streams]);
    let counted = |bed: &Bed| bed.metrics.upstream_failures_total.with_label_values(&["broken_off"]).get();
    assert_eq!(counted(&bed), 2);
    assert!(watches.iter().all(|watch| counted(&watch.bed) == 1));
    until("the connections to be gone", || bed.metrics.upstream_connections.get() == 0).await;
}

#[tokio::test]
async fn a_client_that_falls_silent_lets_go_of_the_api_server() {
    let opened = open_streams(&[H2]).await;
    let Opened { lines, watches, bed, idle: (_idle, mut idle_far), busy: (mut busy, mut busy_far), .. } = opened;
    say(&mut busy, &mut busy_far, "still here").await;

    let mut ports: Vec<u16> = watches.iter().map(|watch| watch.bed.address.port()).collect();
    ports.push(bed.address.port());
    lose_packets(&ports);
    busy_far.write_all(b"output that nobody acknowledges").await.unwrap();
    breaks("the API server's side of an exec with output under way", &mut busy_far).await;
    breaks("the API server's side of an exec without a word", &mut idle_far).await;
    for watch in &watches {
        timeout(NOTICED, watch.pieces.closed()).await.expect("the watch to be cancelled");
    }
    let streams = watches.len() + 2;
    until("the lines", || lines.outcomes().len() == streams).await;
    assert_eq!(lines.outcomes(), vec!["client_gone"; streams]);
    let beds = || watches.iter().map(|watch| &watch.bed).chain([&bed]);
    until("the connections to be gone", || beds().all(|bed| bed.open_connections() == 0)).await;
    assert!(beds().all(|bed| bed.metrics.upstream_failures_total.with_label_values(&["broken_off"]).get() == 0));
    until("the exec's own connections to be gone", || bed.metrics.upstream_connections.get() == 0).await;
}

#[tokio::test]
async fn a_peer_that_reads_nothing_for_long_is_not_dead_until_it_falls_silent_too() {
    enter_own_network();
    let (lines, _guard) = Lines::collect();
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::with(&api, impatient()).await;
    let (_first, mut stdin, mut stdin_far) = exec_through(&bed, &mut switched).await;
    let (_second, mut stdout, mut stdout_far) = exec_through(&bed, &mut switched).await;
    let (_third, mut doomed, _doomed_far) = exec_through(&bed, &mut switched).await;
    let input = fill(&mut stdin).await;
    let output = fill(&mut stdout_far).await;
    fill(&mut doomed).await;

    tokio::time::sleep(QUIET).await;
    assert_eq!(lines.outcomes(), [""; 0]);
    drain(&mut stdin, &mut stdin_far, input).await;
    drain(&mut stdout_far, &mut stdout, output).await;
    say(&mut stdin, &mut stdin_far, "more input").await;
    say(&mut stdout_far, &mut stdout, "more output").await;

    lose_packets(&[api.address.port()]);
    // The pauses between probes of a closed window grow: the next may be as far off as the first is long ago.
    let end = timeout(PATIENCE, doomed.read(&mut [0; 16])).await.expect("an end");
    assert!(end.is_err(), "{end:?}");
}
