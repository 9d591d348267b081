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
    frames::{Frame, Wire, code, kind},
    *,
};

/// What a client does, and what must come of it.
struct Case {
    section: &'static str,
    what: &'static str,
    steps: Vec<Step>,
    /// By the RFC.
    expected: Expected,
    /// What comes instead, if the library deviates, and why it may. Once it no longer does, the case fails.
    deviation: Option<(Expected, &'static str)>,
}

enum Step {
    Send(Vec<u8>),
    /// Waits for the end of the answer on this stream.
    AwaitEnd(u32),
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    /// GOAWAY with one of these codes, then the end.
    ConnectionError(&'static [u32]),
    /// `RST_STREAM` with one of these codes, and the connection goes on; or GOAWAY with one (5.4.1 leaves the choice).
    StreamError(&'static [u32]),
    /// An answer with this status on this stream; the connection goes on.
    Answer(u32, u16),
    /// Nothing; the connection goes on.
    Nothing,
    /// The end, whether or not a frame comes before.
    End,
}

fn case(section: &'static str, what: &'static str, frames: &[Vec<u8>], expected: Expected) -> Case {
    Case { section, what, steps: vec![Step::Send(frames.concat())], expected, deviation: None }
}

/// h2 has one word for every frame and every header block that it can't read. The connection ends all the same, which is what
/// the codes are for: none of these is a client that meant well.
const ONE_WORD: &str = "h2 calls everything that it can't read a PROTOCOL_ERROR";

impl Case {
    /// What the library does otherwise, and why that may be.
    fn but(mut self, seen: Expected, reason: &'static str) -> Self {
        self.deviation = Some((seen, reason));
        self
    }

    fn but_protocol_error(self) -> Self {
        self.but(Expected::ConnectionError(&[code::PROTOCOL_ERROR]), ONE_WORD)
    }

    async fn run(&self, bed: &Bed) -> Result<(), String> {
        let mut wire = Wire::connect(bed).await;
        for step in &self.steps {
            match step {
                Step::Send(bytes) => wire.send(bytes).await,
                Step::AwaitEnd(stream) => {
                    let ends = |frame: &Frame| frame.stream == *stream && frame.flags & 1 == 1 && frame.kind < 2;
                    let seen = wire.until(ends).await;
                    if !seen.last().is_some_and(ends) {
                        return Err(format!("no end of stream {stream}: {seen:?}"));
                    }
                }
            }
        }
        let Self { section, what, expected, deviation, .. } = self;
        let (expected, why) = deviation.unwrap_or((*expected, "by the RFC"));
        let came = expected.comes(&mut wire).await;
        came.map_err(|seen| format!("{section} {what}: expected {expected:?} ({why}), seen {seen}"))
    }
}

impl Expected {
    async fn comes(self, wire: &mut Wire) -> Result<(), String> {
        let told = |frame: &Frame| frame.code().is_some();
        let seen = match self {
            Self::ConnectionError(_) => wire.until(|frame| frame.kind == kind::GOAWAY && frame.code() != Some(0)).await,
            Self::StreamError(_) => wire.until(told).await,
            Self::Answer(stream, _) => {
                wire.until(|frame| frame.stream == stream && frame.kind == kind::HEADERS || told(frame)).await
            }
            Self::Nothing => vec![],
            Self::End => wire.until(|_| false).await,
        };
        let last = seen.last();
        let goes_on = match self {
            Self::ConnectionError(codes) | Self::StreamError(codes) => {
                if !last.and_then(Frame::code).is_some_and(|code| codes.contains(&code)) {
                    return Err(format!("{seen:?}"));
                }
                last.is_some_and(|frame| frame.kind == kind::RST_STREAM)
            }
            Self::Answer(_, status) => {
                if last.and_then(Frame::status) != Some(status) {
                    return Err(format!("{seen:?}"));
                }
                true
            }
            Self::Nothing => true,
            Self::End => return Ok(()),
        };
        if goes_on {
            return is_alive(wire).await;
        }
        wire.until(|_| false).await;
        Ok(())
    }
}

const ALIVE: &[u8] = b"is alive";

async fn is_alive(wire: &mut Wire) -> Result<(), String> {
    wire.send(&frames::frame(kind::PING, 0, 0, ALIVE)).await;
    let seen = wire.until(|frame| frame.kind == kind::PING && frame.payload == ALIVE || frame.code().is_some()).await;
    match seen.last() {
        Some(frame) if (frame.kind, frame.flags) == (kind::PING, 1) => Ok(()),
        _ => Err(format!("an end: {seen:?}")),
    }
}

/// An API server that answers a request when it has all of it.
async fn patient() -> Api {
    Api::start(handler(|request| async move {
        let is_head = request.method() == http::Method::HEAD;
        match request.into_body().collect().await {
            // hyper leaves it to its user that an answer to HEAD has no body in HTTP/2.
            Ok(_) if is_head => Response::new(empty()),
            Ok(_) => Response::new(full("ok")),
            Err(_) => status(http::StatusCode::BAD_REQUEST, "broken off"),
        }
    }))
    .await
}

async fn run(cases: Vec<Case>) {
    let api = patient().await;
    let bed = Bed::before(&api).await;
    let mut failed = Vec::new();
    for case in &cases {
        failed.extend(case.run(&bed).await.err());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // Whatever came of it, what broke the protocol went to nobody.
    let smuggled: Vec<_> = api.seen().into_iter().filter(|seen| seen.target.contains("smuggled")).collect();
    assert!(smuggled.is_empty(), "{smuggled:?}");
    until("the end of all connections", || bed.open_connections() == 0).await;
}
