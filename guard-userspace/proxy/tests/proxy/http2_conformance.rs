//! The cases of h2spec, in our own words: what RFC 9113 and RFC 7541 want of a server, frame by frame.
//!
//! Sections are those of RFC 9113; with `HPACK` before them, of RFC 7541. What the h2 library does otherwise is in the table too, with
//! the reason why it may.

mod connection;
mod hpack;
mod messages;
mod streams;

use http::Response;
use http_body_util::BodyExt;

use crate::bed::{
    frames::{Frame, Wire, kind},
    *,
};

/// What a client does, and what must come of it.
struct Case {
    section: &'static str,
    what: &'static str,
    steps: Vec<Step>,
    expected: Expected,
}

enum Step {
    Send(Vec<u8>),
    /// Waits for the end of the answer on this stream.
    AwaitEnd(u32),
}

enum Expected {
    /// GOAWAY with one of these codes, then the end.
    ConnectionError(&'static [u32]),
    /// RST_STREAM with one of these codes; the connection goes on.
    StreamError(&'static [u32]),
    /// An answer with this status on this stream; the connection goes on.
    Answer(u32, u16),
    /// Nothing; the connection goes on.
    Nothing,
    /// The end, whether or not a frame comes before.
    End,
}

fn case(section: &'static str, what: &'static str, frames: &[Vec<u8>], expected: Expected) -> Case {
    Case { section, what, steps: vec![Step::Send(frames.concat())], expected }
}

const ALIVE: &[u8] = b"is alive";

impl Case {
    async fn run(&self, bed: &Bed) {
        let name = format!("{} {}", self.section, self.what);
        let mut wire = Wire::connect(bed).await;
        for step in &self.steps {
            match step {
                Step::Send(bytes) => wire.send(bytes).await,
                Step::AwaitEnd(stream) => {
                    let ends = |frame: &Frame| frame.stream == *stream && frame.flags & 1 == 1 && frame.kind < 2;
                    let seen = wire.until(ends).await;
                    assert!(seen.last().is_some_and(ends), "{name}: no end of stream {stream}: {seen:?}");
                }
            }
        }
        match self.expected {
            Expected::ConnectionError(codes) => {
                let seen = wire.until(|frame| frame.kind == kind::GOAWAY && frame.code() != Some(0)).await;
                let code = seen.last().and_then(Frame::code);
                assert!(code.is_some_and(|code| codes.contains(&code)), "{name}: {codes:?} expected: {seen:?}");
                assert_eq!(seen.last().unwrap().kind, kind::GOAWAY, "{name}");
                wire.until(|_| false).await;
            }
            Expected::StreamError(codes) => {
                let seen = wire.until(|frame| frame.kind == kind::RST_STREAM || frame.kind == kind::GOAWAY).await;
                let last = seen.last().filter(|frame| frame.kind == kind::RST_STREAM);
                let code = last.and_then(Frame::code);
                assert!(code.is_some_and(|code| codes.contains(&code)), "{name}: {codes:?} expected: {seen:?}");
                assert_alive(&name, &mut wire).await;
            }
            Expected::Answer(stream, status) => {
                let is_answer = |frame: &Frame| frame.stream == stream && frame.kind == kind::HEADERS;
                let seen = wire.until(|frame| is_answer(frame) || frame.code().is_some()).await;
                let answer = seen.last().filter(|frame| is_answer(frame));
                assert_eq!(answer.and_then(Frame::status), Some(status), "{name}: {seen:?}");
                assert_alive(&name, &mut wire).await;
            }
            Expected::Nothing => assert_alive(&name, &mut wire).await,
            Expected::End => drop(wire.until(|_| false).await),
        }
    }
}

async fn assert_alive(name: &str, wire: &mut Wire) {
    wire.send(&frames::frame(kind::PING, 0, 0, ALIVE)).await;
    let seen = wire.until(|frame| frame.kind == kind::PING && frame.payload == ALIVE || frame.code().is_some()).await;
    let answer = seen.last().map(|frame| (frame.kind, frame.flags, &frame.payload[..]));
    assert_eq!(answer, Some((kind::PING, 1, ALIVE)), "{name}: the connection does not go on: {seen:?}");
}

/// An API server that answers a request when it has all of it.
async fn patient() -> Api {
    Api::start(handler(|request| async move {
        match request.into_body().collect().await {
            Ok(_) => Response::new(full("ok")),
            Err(_) => status(http::StatusCode::BAD_REQUEST, "broken off"),
        }
    }))
    .await
}

async fn run(cases: Vec<Case>) {
    let api = patient().await;
    let bed = Bed::before(&api).await;
    for case in &cases {
        case.run(&bed).await;
    }
    // Whatever came of it, what broke the protocol went to nobody.
    let smuggled: Vec<_> = api.seen().into_iter().filter(|seen| seen.target.contains("smuggled")).collect();
    assert!(smuggled.is_empty(), "{smuggled:?}");
    until("the end of all connections", || bed.open_connections() == 0).await;
}
