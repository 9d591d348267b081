//! A request's body as it comes from a client, within its bounds, and what becomes of the part that nobody needs.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    body::BodyError,
    config::ProxyConfig,
    connection::Active,
    quota::{Limit, Turns},
};

/// How much of a body is read for nothing, so that the connection can go on.
#[derive(Clone)]
pub(crate) struct Discard {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
    /// Ends it.
    pub(crate) cut: CancellationToken,
    pub(crate) turns: Turns,
}

/// The limit that a body has met, once it has.
pub(crate) type Overstepped = Arc<OnceLock<Limit>>;

/// What a body may have and take.
struct Bounds {
    /// Bytes that may still come.
    bytes: u64,
    /// Time that the client may still take. What it sends adds to it, and only waiting for it counts.
    patience: Duration,
    /// For each byte.
    per_byte: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// What a client sends. Dropped before its end, as when the answer is there already, the rest is thrown away in the
/// background, within bounds. hyper would end the connection in HTTP/1.1, and in HTTP/2 reset the stream right after
/// the answer, which a client that still sends may take for a failure (curl 7.88 does).
pub(crate) struct ClientBody {
    /// Some until dropped.
    incoming: Option<Incoming>,
    http2: bool,
    /// The client sends nothing until it is told to, which the first poll does (RFC 9110, 10.1.1).
    waits: bool,
    ended: bool,
    discard: Discard,
    bounds: Option<Bounds>,
    overstepped: Overstepped,
    /// Its mark on the connection, while there is something to come.
    active: Option<Active>,
}

impl ClientBody {
    pub(crate) fn new(incoming: Incoming, head: &Request<()>, discard: Discard, active: Active) -> Self {
        let http2 = head.version() == Version::HTTP_2;
        let waits = !http2 && head.headers().contains_key(header::EXPECT);
        let active = (!incoming.is_end_stream()).then_some(active);
        let overstepped = Overstepped::default();
        Self { incoming: Some(incoming), http2, waits, ended: false, discard, bounds: None, overstepped, active }
    }

    /// Bounds its length and the time that it takes.
    ///
    /// # Errors
    /// If the client says that it is longer.
    pub(crate) fn bound(&mut self, config: &ProxyConfig) -> Result<(), Limit> {
        let bytes = config.limits.body_bytes;
        if self.size_hint().lower() > bytes {
            return Err(Limit::BodyBytes);
        }
        let per_byte = Duration::from_secs(1) / config.limits.body_bytes_per_second.max(1);
        self.bounds = Some(Bounds { bytes, patience: config.timeouts.body, per_byte, waiting: None });
        Ok(())
    }

    /// Where it says which limit it has met.
    pub(crate) fn overstepped(&self) -> &Overstepped {
        &self.overstepped
    }

    /// Whether the connection ends after an answer that is given now, since too much would have to be read before the
    /// next request.
    pub(crate) fn ends_connection(&self) -> bool {
        !self.http2 && !self.is_end_stream() && (self.waits || self.size_hint().lower() > self.discard.bytes)
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        this.waits = false;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(incoming).poll_frame(cx);
        if let Some(bounds) = &mut this.bounds
            && let Err(limit) = bounds.judge(&polled, cx)
        {
            // There is one reader, and it stops here.
            let _ = this.overstepped.set(limit);
            return Poll::Ready(Some(Err(BodyError::Overstepped)));
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            this.ended = true;
            this.active = None;
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Bounds {
    fn judge(&mut self, polled: &Poll<Option<hyper::Result<Frame<Bytes>>>>, cx: &mut Context<'_>) -> Result<(), Limit> {
        match polled {
            Poll::Pending => {
                let (_, end) = self.waiting.get_or_insert_with(|| {
                    let now = Instant::now();
                    (now, Box::pin(sleep_until(now + self.patience)))
                });
                if end.as_mut().poll(cx).is_ready() { Err(Limit::BodyRate) } else { Ok(()) }
            }
            Poll::Ready(frame) => {
                if let Some((since, _)) = self.waiting.take() {
                    self.patience = self.patience.saturating_sub(since.elapsed());
                }
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                let length = data.map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                self.bytes = self.bytes.checked_sub(length).ok_or(Limit::BodyBytes)?;
                let earned = self.per_byte.saturating_mul(u32::try_from(length).unwrap_or(u32::MAX));
                self.patience = self.patience.saturating_add(earned);
                Ok(())
            }
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if self.ended || self.is_end_stream() || self.ends_connection() {
            return;
        }
        // Outside of a runtime, at the process's end, nobody reads on.
        if let (Some(rest), Ok(_)) = (self.incoming.take(), Handle::try_current()) {
            let http2 = self.http2;
            let cut = self.discard.cut.clone();
            let (discard, active) = (self.discard.clone(), self.active.take());
            let turns = discard.turns.clone();
            let read = async move {
                throw_away(rest, http2, discard).await;
                drop(active);
            };
            turns.spawn(cut.run_until_cancelled_owned(read));
        }
    }
}

async fn throw_away(mut rest: Incoming, http2: bool, bounds: Discard) {
    let read = async {
        let mut thrown = 0;
        while let Some(Ok(frame)) = rest.frame().await {
            thrown += frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
            if thrown > bounds.bytes {
                too_much(http2).await;
                return;
            }
        }
    };
    let _ = timeout(bounds.time, read).await;
}

/// In HTTP/1.1 the connection ends. In HTTP/2 the client can't go on, for its window is closed, and has time to read its
/// answer before the reset that tells it to stop.
async fn too_much(http2: bool) {
    if http2 {
        std::future::pending::<()>().await;
    }
}
