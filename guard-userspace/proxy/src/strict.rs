//! A client's HTTP/1.1 connection, of which only well-formed requests reach the HTTP library.
//!
//! In the place of a head that is malformed the library gets one of ours, so that the client has its answer in order, as a Kubernetes
//! `Status`, and the refusal its log line. Whose request it is, is told by its number: no client can make one that
//! looks like it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use guard_http1::{Limits, Malformed, Requests};
use guard_telemetry::Metrics;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// In the place of a malformed head. The method is in the exchange's log line.
const SUBSTITUTE: &[u8] = b"MALFORMED / HTTP/1.1\r\nHost: malformed\r\nConnection: close\r\n\r\n";

/// A stream from a client, read strictly.
pub(crate) struct Strict<T> {
    stream: T,
    requests: Requests,
    /// What may go on, from `taken` on.
    passed: Vec<u8>,
    taken: usize,
    /// What the library has yet to learn of a body, once it has what came before.
    broken: Option<Malformed>,
    /// Whether reading failed. The library knows nothing of a head that is held, and would end the connection as if all were well.
    failed: bool,
    findings: Arc<Findings>,
    metrics: Arc<Metrics>,
}

/// What was found on a connection, for whoever answers its requests.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Requests that were begun to be answered.
    answered: AtomicU64,
    malformed: Mutex<Option<Finding>>,
}

#[derive(Clone, Copy, Debug)]
enum Finding {
    /// The head of the request with this number, counted from 0.
    Head(u64, Malformed),
    /// The body of the last one.
    Body(Malformed),
}

impl Findings {
    /// Called for each request in turn: what is wrong with its head.
    pub(crate) fn next(&self) -> Option<Malformed> {
        let number = self.answered.fetch_add(1, Ordering::Relaxed);
        match self.get() {
            Some(Finding::Head(found, malformed)) if found == number => Some(malformed),
            _ => None,
        }
    }

    /// What is wrong with the body that is being read.
    pub(crate) fn of_body(&self) -> Option<Malformed> {
        match self.get() {
            Some(Finding::Body(malformed)) => Some(malformed),
            _ => None,
        }
    }

    fn get(&self) -> Option<Finding> {
        *self.malformed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, finding: Finding) {
        *self.malformed.lock().unwrap_or_else(PoisonError::into_inner) = Some(finding);
    }
}

impl<T> Strict<T> {
    /// Heads within these limits pass.
    pub(crate) fn new(stream: T, most: Limits, findings: Arc<Findings>, metrics: Arc<Metrics>) -> Self {
        let requests = Requests::new(most);
        Self { stream, requests, passed: Vec::new(), taken: 0, broken: None, failed: false, findings, metrics }
    }

    /// Takes from `into` what was read, behind `before`, and leaves what may go on at once.
    fn judge(&mut self, into: &mut ReadBuf<'_>, before: usize) {
        let read = &into.filled()[before..];
        let result = match self.requests.pass(read) {
            Ok(passes) if passes == read.len() => return,
            Ok(passes) => {
                self.passed.extend_from_slice(&read[..passes]);
                self.requests.feed(&read[passes..], &mut self.passed)
            }
            Err(malformed) => Err(malformed),
        };
        into.set_filled(before);
        if let Err(malformed) = result {
            self.found(malformed);
        }
    }

    fn found(&mut self, malformed: Malformed) {
        self.metrics.malformed_requests_total.with_label_values(&[malformed.reason()]).inc();
        if self.requests.is_in_body() {
            self.findings.set(Finding::Body(malformed));
            self.broken = Some(malformed);
            return;
        }
        self.findings.set(Finding::Head(self.requests.heads(), malformed));
        self.passed.extend_from_slice(SUBSTITUTE);
    }

    /// Hands on what may go on; whether there was anything.
    fn hand_on(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let rest = &self.passed[self.taken..];
        let now = rest.len().min(into.remaining());
        into.put_slice(&rest[..now]);
        self.taken += now;
        if self.taken == self.passed.len() {
            // A connection that waits holds nothing.
            self.passed = Vec::new();
            self.taken = 0;
        }
        now > 0
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Strict<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.hand_on(into) {
                return Poll::Ready(Ok(()));
            }
            if let Some(malformed) = this.broken.take() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, malformed)));
            }
            if this.findings.get().is_some() {
                // Nothing that follows has a meaning. The answer ends the connection.
                return Poll::Pending;
            }
            let before = into.filled().len();
            if let Err(error) = ready!(Pin::new(&mut this.stream).poll_read(cx, into)) {
                this.failed = true;
                return Poll::Ready(Err(error));
            }
            if into.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            this.judge(into, before);
            if into.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Strict<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
