//! HTTP/2 clients that cost work, memory or time and want nothing.

use std::time::Duration;

use bytes::Bytes;
use guard_proxy::{Limits, Timeouts};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::bed::{
    frames::{
        PREFACE,
        flag::{END_HEADERS, END_STREAM},
        frame,
        kind::{CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE},
    },
    *,
};

const ENHANCE_YOUR_CALM: u32 = 11;
const REFUSED_STREAM: u32 = 7;

/// `:method`, `:scheme`, `:path` and `:authority`, by the static table and literals (RFC 7541), and the token.
fn head(method: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x87];
    let token = format!("Bearer {AGENT_TOKEN}");
    for (index, value) in [(2, method), (4, path), (1, "kubernetes.default.svc"), (23, &token)] {
        // Literal without indexing; an index above 14 takes a second byte.
        if index < 15 {
            block.push(index);
        } else {
            block.extend([15, index - 15]);
        }
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    block
}

/// The nth frame of a flood.
type Next = fn(u32) -> Vec<u8>;

/// A client that writes frames as they are.
struct Raw(TlsStream<TcpStream>);

impl Raw {
    async fn connect(bed: &Bed) -> Self {
        let mut tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http2()).await.unwrap();
        tls.write_all(PREFACE).await.unwrap();
        tls.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self(tls)
    }

    /// Sends until the proxy takes no more.
    async fn flood(self, mut next: impl FnMut(u32) -> Vec<u8> + Send + 'static) -> Vec<(u8, u32, Vec<u8>)> {
        let (mut read, mut write) = tokio::io::split(self.0);
        let sending = tokio::spawn(async move {
            for n in 0..2_000_000 {
                if write.write_all(&next(n)).await.is_err() {
                    return;
                }
            }
        });
        let mut received = Vec::new();
        let _ = soon("the end", read.read_to_end(&mut received)).await;
        sending.abort();
        frames(&received)
    }

    async fn send(&mut self, frame: &[u8]) {
        self.0.write_all(frame).await.unwrap();
    }

    /// All that comes until the proxy ends the connection.
    async fn rest(mut self) -> Vec<(u8, u32, Vec<u8>)> {
        let mut received = Vec::new();
        let _ = soon("the end", self.0.read_to_end(&mut received)).await;
        frames(&received)
    }
}

/// Kind, stream and payload of each.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, s1, s2, s3, s4, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        frames.push((*kind, u32::from_be_bytes([*s1, *s2, *s3, *s4]), payload.to_vec()));
        bytes = rest;
    }
    frames
}

fn farewell(frames: &[(u8, u32, Vec<u8>)]) -> Option<u32> {
    let payload = frames.iter().rev().find(|(kind, ..)| *kind == GOAWAY).map(|(.., payload)| payload)?;
    Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()))
}

fn met(bed: &Bed, limit: &str) -> u64 {
    bed.metrics.limits_total.with_label_values(&[limit]).get()
}

/// Few enough to be met at once, more than an ordinary client needs.
fn low() -> Limits {
    Limits { frames_per_second: 50, resets_per_second: 10, ..Limits::default() }
}

#[tokio::test]
async fn floods_of_frames_end_with_enhance_your_calm_and_hurt_nobody_else() {
    let api = Api::start(ok()).await;
    let bed = Bed::with(&api, BedOptions { limits: low(), ..BedOptions::default() }).await;
    let floods: [(&str, &str, Next); 7] = [
        ("pings", "frames", |_| frame(PING, 0, 0, &[0; 8])),
        ("settings", "frames", |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("window updates", "frames", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("frames of no known kind", "frames", |_| frame(0x42, 0, 0, b"?")),
        ("pieces of a head", "frames", |n| match n {
            0 => frame(HEADERS, 0, 1, &head("GET", "/version")),
            _ => frame(CONTINUATION, 0, 1, &[]),
        }),
        ("bytes of a body, one by one", "frames", |n| match n {
            0 => frame(HEADERS, END_HEADERS, 1, &head("POST", "/api/v1/pods")),
            _ => frame(DATA, 0, 1, b"x"),
        }),
        ("requests taken back", "resets", |n| {
            let stream = 2 * n + 1;
            let begun = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/version"));
            [begun, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        }),
    ];
    for (what, limit, next) in floods {
        let before = met(&bed, limit);
        let received = Raw::connect(&bed).await.flood(next).await;
        assert_eq!(farewell(&received), Some(ENHANCE_YOUR_CALM), "{what}");
        assert!(met(&bed, limit) > before, "{what}");
        // The account is the workload's: it fills again for its next connection.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    until("no connection", || bed.open_connections() == 0).await;
    assert!(api.seen().iter().all(|seen| seen.target != "/api/v1/pods" || seen.method == "POST"));
    let mut client = bed.client(&ClientOptions::http2()).await;
    assert_eq!(client.send(get("/version")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn requests_that_are_taken_back_cost_the_api_server_no_more_than_the_limit() {
    let api = Api::start(handler(|_| std::future::pending())).await;
    let bed = Bed::with(&api, BedOptions { limits: low(), ..BedOptions::default() }).await;
    let next = |n| {
        let stream = 2 * n + 1;
        let begun = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/version"));
        [begun, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let received = Raw::connect(&bed).await.flood(next).await;
    assert_eq!(farewell(&received), Some(ENHANCE_YOUR_CALM));
    // Four seconds' worth at once, and what comes in the meantime.
    assert!(api.seen().len() < 100, "{} requests", api.seen().len());
}

/// Each on a new connection, with no stream reset: the connection ends with all that was asked for on it.
#[tokio::test]
async fn requests_that_end_with_their_connection_cost_the_api_server_no_more_than_the_limit_either() {
    let api = Api::start(handler(|_| std::future::pending())).await;
    let bed = Bed::with(&api, BedOptions { limits: low(), ..BedOptions::default() }).await;
    for _ in 0..20 {
        let mut raw = Raw::connect(&bed).await;
        let before = api.seen().len();
        for n in 0..20 {
            raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head("GET", "/version"))).await;
        }
        until("an answer or a request", || api.seen().len() > before || met(&bed, "resets") > 0).await;
        drop(raw);
        until("the end", || bed.open_connections() == 0).await;
    }
    assert!(met(&bed, "resets") > 0);
    assert!(api.seen().len() < 200, "{} of 400 requests", api.seen().len());
}

#[tokio::test]
async fn streams_above_the_limit_are_refused_and_those_below_go_on() {
    let (pieces, body) = stream();
    let body = std::sync::Mutex::new(Some(body));
    let api = Api::start(handler(move |_| {
        let body = body.lock().unwrap().take();
        async move {
            match body {
                Some(body) => http::Response::new(body),
                None => std::future::pending().await,
            }
        }
    }))
    .await;
    let limits = Limits { streams: 2, ..Limits::default() };
    let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
    let mut raw = Raw::connect(&bed).await;
    // Without the proxy's SETTINGS acknowledged, and against them.
    for stream in [1, 3, 5] {
        raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/api/v1/pods?watch=1"))).await;
        if stream == 1 {
            until("the watch", || api.seen().len() == 1).await;
        }
    }
    until("the refusal", || met(&bed, "streams") == 1).await;
    pieces.send(Ok(Bytes::from_static(b"event"))).await.unwrap();
    drop(pieces);
    // The first answer ends well; then the client is done.
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    soon("the event and the refusal", async {
        loop {
            let read = raw.0.read(&mut buffer).await.unwrap();
            received.extend_from_slice(&buffer[..read]);
            let seen = frames(&received);
            let refused = seen.iter().any(|(kind, stream, code)| {
                (*kind, *stream) == (RST_STREAM, 5) && code[..] == REFUSED_STREAM.to_be_bytes()
            });
            if refused && seen.iter().any(|(kind, stream, data)| (*kind, *stream, &data[..]) == (DATA, 1, b"event")) {
                return;
            }
        }
    })
    .await;
    assert_eq!(farewell(&frames(&received)), None);
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_told_so() {
    let api = Api::start(ok()).await;
    let timeouts = Timeouts { head: Duration::from_millis(200), ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { timeouts, ..BedOptions::default() }).await;
    let mut raw = Raw::connect(&bed).await;
    raw.send(&frame(HEADERS, 0, 1, &head("GET", "/version"))).await;
    assert_eq!(farewell(&raw.rest().await), Some(ENHANCE_YOUR_CALM));

    let mut tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http11()).await.unwrap();
    tls.write_all(b"GET /version HTTP/1.1\r\nHost:").await.unwrap();
    let mut answer = Vec::new();
    soon("the end", tls.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(answer.contains("\"kind\":\"Status\""), "{answer}");
    assert_eq!(met(&bed, "head_time"), 2);
    assert!(api.seen().is_empty());
}

/// It answers what it is asked, and takes no end.
#[tokio::test]
async fn an_idle_client_that_does_not_go_when_told_is_cut() {
    let api = Api::start(ok()).await;
    let short = Duration::from_millis(200);
    let timeouts = Timeouts { idle: short, handshake: short, ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { timeouts, ..BedOptions::default() }).await;
    let raw = Raw::connect(&bed).await;
    let received = raw.rest().await;
    assert_eq!(farewell(&received), Some(0));
    until("no connection", || bed.open_connections() == 0).await;
}
