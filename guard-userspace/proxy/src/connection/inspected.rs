//! What passes between a client and hyper, held against the workload's account.
//!
//! hyper and h2 bound what *one* connection may do. What they leave open is here: the sum over a workload's connections, the time
//! that a head may take, and frames that cost work and carry nothing. A client that goes too far is told so in its own protocol.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::StatusCode;
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    activity::{Activity, Head},
    frames::{self, Frame, Frames},
};
use crate::{
    cork::Spoken,
    quota::{Limit, Quota},
    status::Status,
};

/// Bytes given to hyper at once. Its buffer for HTTP/1.1 grows with the largest read.
const READ: usize = 32 << 10;
/// Bytes read without a pause: then others have their turn.
const RUN: usize = 128 << 10;
/// A frame of data with less is one that carries nothing, but for the last of a body.
const LITTLE: usize = 256;
/// Frames that a client may send for one of data, in proportion to its size: it acknowledges what it has read.
const MOST_ANSWERS: usize = 4;
/// Error codes (RFC 9113, 7): what a stream is reset with when nobody has done anything wrong.
const INNOCENT: [u32; 3] = [0, 2, 8];
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A client's stream, inspected.
pub(crate) struct Inspected<T> {
    stream: T,
    quota: Arc<Quota>,
    head_time: Duration,
    protocol: Protocol,
    /// Bytes given to hyper since it last had to wait.
    run: usize,
    /// Fires when the head under way takes too long.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    /// What the client has done, if hyper is to hear of it next.
    guilty: Option<Limit>,
    /// What hyper was told.
    verdict: Option<Limit>,
}

enum Protocol {
    Http1 { activity: Activity },
    Http2(Box<Http2>),
}

struct Http2 {
    received: Frames,
    sent: Frames,
    /// The header block under way.
    head: Head,
    /// The last stream that the client began.
    last: u32,
}

impl<T> Inspected<T> {
    pub(crate) fn http1(stream: T, quota: Arc<Quota>, head_time: Duration, activity: Activity) -> Self {
        Self::new(stream, quota, head_time, Protocol::Http1 { activity })
    }

    pub(crate) fn http2(stream: T, quota: Arc<Quota>, head_time: Duration) -> Self {
        let http2 = Http2 { received: Frames::of_client(), sent: Frames::of_server(), head: Head::default(), last: 0 };
        Self::new(stream, quota, head_time, Protocol::Http2(Box::new(http2)))
    }

    fn new(stream: T, quota: Arc<Quota>, head_time: Duration, protocol: Protocol) -> Self {
        Self { stream, quota, head_time, protocol, run: 0, timer: None, guilty: None, verdict: None }
    }

    fn judge(&mut self, limit: Limit) -> io::Error {
        self.quota.met(limit);
        self.verdict = Some(limit);
        io::Error::other(format!("the workload has met its limit of {}", limit.name()))
    }

    fn poll_head_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begun = match &self.protocol {
            Protocol::Http1 { activity } => activity.head_begun(),
            Protocol::Http2(http2) => http2.head.begun(),
        };
        let Some(begun) = begun else {
            self.timer = None;
            return Poll::Pending;
        };
        let deadline = begun + self.head_time;
        let timer = match &mut self.timer {
            Some((of, timer)) if *of == deadline => timer,
            _ => &mut self.timer.insert((deadline, Box::pin(tokio::time::sleep_until(deadline)))).1,
        };
        timer.as_mut().poll(cx)
    }
}

impl Protocol {
    fn received(&mut self, bytes: &[u8], quota: &Quota) -> Result<(), Limit> {
        match self {
            Self::Http1 { activity } => activity.received(bytes.len(), quota),
            Self::Http2(http2) => {
                let Http2 { received, head, last, .. } = &mut **http2;
                received.feed(bytes, |frame| judge_received(frame, head, last, quota))
            }
        }
    }

    fn sent(&mut self, bytes: &[u8], quota: &Quota) -> Result<(), Limit> {
        match self {
            Self::Http1 { .. } => Ok(()),
            Self::Http2(http2) => http2.sent.feed(bytes, |frame| judge_sent(frame, quota)),
        }
    }
}

fn judge_received(frame: &Frame, head: &mut Head, last: &mut u32, quota: &Quota) -> Result<(), Limit> {
    if matches!(frame.kind, frames::HEADERS | frames::CONTINUATION) {
        *last = frame.stream.max(*last);
        head.add(frame.length, quota)?;
        if frame.has(frames::END_HEADERS) {
            head.end();
        }
    }
    let carries = match frame.kind {
        frames::DATA => frame.length >= LITTLE || frame.has(frames::END_STREAM),
        frames::RST_STREAM if !quota.admit_reset() => return Err(Limit::Resets),
        frames::HEADERS | frames::RST_STREAM => true,
        _ => false,
    };
    if carries || quota.admit_frame() { Ok(()) } else { Err(Limit::Frames) }
}

/// What h2 found wrong with a client shows in how it answers.
fn judge_sent(frame: &Frame, quota: &Quota) -> Result<(), Limit> {
    if matches!(frame.kind, frames::RST_STREAM | frames::GOAWAY) && !INNOCENT.contains(&frame.error_code()) {
        quota.broke_http2(if frame.kind == frames::GOAWAY { "connection" } else { "stream" }, frame.error_code());
    }
    match frame.kind {
        frames::DATA => {
            let answers = (frame.length / LITTLE).min(MOST_ANSWERS);
            quota.allow_frames(u32::try_from(answers).unwrap_or_default());
            Ok(())
        }
        frames::RST_STREAM if !INNOCENT.contains(&frame.error_code()) => {
            if frame.error_code() == REFUSED_STREAM {
                quota.met(Limit::Streams);
            }
            if quota.admit_reset() { Ok(()) } else { Err(Limit::Resets) }
        }
        frames::GOAWAY if frame.error_code() == ENHANCE_YOUR_CALM => {
            quota.met(Limit::Frames);
            Ok(())
        }
        _ => Ok(()),
    }
}

impl<T> Spoken for Inspected<T> {
    fn farewell(&self) -> Option<Vec<u8>> {
        let limit = self.verdict?;
        match &self.protocol {
            Protocol::Http1 { activity } => (!activity.is_active()).then(|| refusal(limit)),
            Protocol::Http2(http2) => {
                http2.sent.at_boundary().then(|| frames::goaway(http2.last, ENHANCE_YOUR_CALM, limit.name()))
            }
        }
    }
}

/// A whole answer in HTTP/1.1, to a request whose head never ended.
fn refusal(limit: Limit) -> Vec<u8> {
    let (code, reason, message) = if limit == Limit::HeadTime {
        (StatusCode::REQUEST_TIMEOUT, "Timeout", "egress guard: the request's headers did not come in time")
    } else {
        let message = "egress guard: this pod has too many unfinished requests; finish or close some";
        (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
    };
    let body = Status::failure(code, reason, message.to_owned(), None).to_json();
    let mut answer = format!(
        "HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    answer
}

impl<T: AsyncBufRead + Unpin> AsyncRead for Inspected<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // After the verdict what comes is read for nothing.
        if this.verdict.is_none() {
            if let Some(limit) = this.guilty.take() {
                return Poll::Ready(Err(this.judge(limit)));
            }
            if this.poll_head_time(cx).is_ready() {
                return Poll::Ready(Err(this.judge(Limit::HeadTime)));
            }
        }
        if this.run >= RUN {
            this.run = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut this.stream).poll_fill_buf(cx);
        if polled.is_pending() {
            this.run = 0;
        }
        let bytes = ready!(polled)?;
        let length = bytes.len().min(into.remaining()).min(READ);
        let bytes = &bytes[..length];
        into.put_slice(bytes);
        let judged = if this.verdict.is_none() { this.protocol.received(bytes, &this.quota) } else { Ok(()) };
        Pin::new(&mut this.stream).consume(length);
        this.run += length;
        Poll::Ready(judged.map_err(|limit| this.judge(limit)))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Inspected<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        if let Err(limit) = this.protocol.sent(&bytes[..written], &this.quota) {
            this.guilty = Some(limit);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
