//! Bodies on their way: counted, on the workload's account while somebody is slow to take them, and never ended cleanly unless the
//! sender ended them.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    client_body::{ClientBody, Overstepped},
    exchange::{Exchange, Outcome, Traffic},
    quota::{Budget, Passage},
    upstream::Lease,
    watch_end::WatchEnd,
};

/// How long the head of a refusal waits for the first piece of its body at most. The API server sends both at once.
const FIRST_PIECE: Duration = Duration::from_millis(500);

/// Why a body ended before its end. The other side sees a reset.
#[derive(Debug, Error)]
pub(crate) enum BodyError {
    /// The connection broke, or the sender reset the stream.
    #[error("the sender of the body broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// The HTTP/2 stream ended without `END_STREAM` and short of its content length.
    #[error("the sender of the body reset the stream before its end")]
    Truncated,
    /// The client's body is longer than it may be, or slower.
    #[error("the request's body has met a limit")]
    Overstepped,
}

/// A message that arrives, with the difference between *ended* and *broken off* kept.
///
/// hyper reports a stream reset with `NO_ERROR` as the end of the body, since a server may so refuse the rest of
/// an upload. For a proxy that would make a cut-off message whole.
struct Whole<B> {
    incoming: B,
    /// Whether only an explicit end counts.
    http2: bool,
    /// Bytes that are still to come, where the sender said how many.
    expected: Option<u64>,
    /// What was taken before anybody asked.
    peeked: Option<Peeked>,
}

type Peeked = Option<Result<Frame<Bytes>, BodyError>>;

impl<B: Body<Data = Bytes, Error: Into<BodyError>> + Unpin> Whole<B> {
    fn new(incoming: B, version: Version) -> Self {
        let expected = incoming.size_hint().exact();
        Self { incoming, http2: version == Version::HTTP_2, expected, peeked: None }
    }

    /// Waits for the first frame, and keeps it.
    async fn peek(&mut self) {
        if !self.is_end_stream() {
            self.peeked = Some(poll_fn(|cx| self.poll_next(cx)).await);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.peeked.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let peeked = match &self.peeked {
            Some(Some(Ok(frame))) => frame.data_ref().map_or(0, length),
            _ => 0,
        };
        self.incoming.size_hint().exact().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + peeked))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Peeked> {
        self.peeked.take().map_or_else(|| self.poll_next(cx), Poll::Ready)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Peeked> {
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None if self.http2 && !self.incoming.is_end_stream() && self.expected != Some(0) => {
                return Poll::Ready(Some(Err(BodyError::Truncated)));
            }
            None => return Poll::Ready(None),
        };
        if let (Some(expected), Some(data)) = (&mut self.expected, frame.data_ref()) {
            *expected = expected.saturating_sub(length(data));
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

/// The body of a request on its way to the API server.
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// As it comes from the client.
    Streaming(Box<StreamingRequest>),
}

/// What streams, and where it is counted.
pub(crate) struct StreamingRequest {
    whole: Whole<ClientBody>,
    traffic: Arc<Traffic>,
    passage: Passage,
}

impl RequestBody {
    pub(crate) fn streaming(incoming: ClientBody, version: Version, traffic: Arc<Traffic>, held: Budget) -> Self {
        if incoming.is_end_stream() {
            Self::Empty
        } else {
            let (whole, passage) = (Whole::new(incoming, version), Passage::new(held));
            Self::Streaming(Box::new(StreamingRequest { whole, traffic, passage }))
        }
    }

    /// Where it says which limit it has met.
    pub(crate) fn overstepped(&self) -> Overstepped {
        match self {
            Self::Empty => Overstepped::default(),
            Self::Streaming(body) => Arc::clone(body.whole.incoming.overstepped()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Streaming(body) = &mut *self else { return Poll::Ready(None) };
        loop {
            ready!(body.passage.poll_open(cx));
            let frame = ready!(body.whole.poll_frame(cx));
            match &frame {
                // Trailers are headers that no allow list has seen; the API server reads none.
                Some(Ok(frame)) if frame.is_trailers() => continue,
                Some(Ok(frame)) => body.traffic.add_request(frame.data_ref().map_or(0, length)),
                Some(Err(_)) | None => {}
            }
            return Poll::Ready(on_account(frame, &mut body.passage));
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(body) => body.whole.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(body) => body.whole.size_hint(),
        }
    }
}

/// The body of a response on its way to the client.
pub(crate) enum ResponseBody {
    /// The guard's own answer.
    Local { full: Full<Bytes>, _exchange: Option<Box<Exchange>> },
    /// As it comes from the API server.
    Streaming(Box<StreamingResponse>),
}

/// What streams, and the exchange that ends with it.
pub(crate) struct StreamingResponse {
    whole: Whole<Incoming>,
    passage: Passage,
    watch: Option<WatchEnd>,
    ended: bool,
    exchange: Exchange,
    /// Back to the pool at the end.
    lease: Lease,
}

impl ResponseBody {
    pub(crate) fn local(bytes: Bytes) -> Self {
        Self::Local { full: Full::new(bytes), _exchange: None }
    }

    /// Ends `exchange` when the answer has gone out. Only the guard's own answers take one here.
    pub(crate) fn ending(self, mut exchange: Exchange) -> Self {
        match self {
            Self::Local { full, .. } => {
                exchange.traffic().add_response(full.size_hint().exact().unwrap_or_default());
                exchange.outcome = Outcome::Complete;
                Self::Local { full, _exchange: Some(Box::new(exchange)) }
            }
            streaming @ Self::Streaming(_) => streaming,
        }
    }

    pub(crate) fn streaming(
        incoming: Incoming,
        version: Version,
        watch: Option<WatchEnd>,
        lease: Lease,
        exchange: Exchange,
        held: Budget,
    ) -> Self {
        let (whole, passage) = (Whole::new(incoming, version), Passage::new(held));
        Self::Streaming(Box::new(StreamingResponse { whole, passage, watch, ended: false, exchange, lease }))
    }

    /// Waits a moment for the first piece of a refusal, so that it goes out with its head. A client that still sends and
    /// sees the head alone may end its request short of its length (curl 7.88 does): h2 resets the stream for that
    /// (RFC 9113, 8.1.1), and the rest of the refusal would be lost.
    pub(crate) async fn await_first_piece(&mut self) {
        if let Self::Streaming(body) = self {
            let _ = timeout(FIRST_PIECE, body.whole.peek()).await;
        }
    }
}

impl StreamingResponse {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(watch) = &mut self.watch
            && watch.poll_end(cx).is_ready()
        {
            self.ended = true;
            self.exchange.outcome = Outcome::Drained;
            return Poll::Ready(None);
        }
        ready!(self.passage.poll_open(cx));
        let frame = ready!(self.whole.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.exchange.traffic().add_response(length(data));
                    if let Some(watch) = &mut self.watch {
                        watch.passed(data);
                    }
                }
            }
            Some(Err(_)) => {
                self.ended = true;
                self.exchange.outcome = Outcome::UpstreamBroken;
            }
            None => self.complete(),
        }
        Poll::Ready(on_account(frame, &mut self.passage))
    }

    fn complete(&mut self) {
        self.ended = true;
        self.exchange.outcome = Outcome::Complete;
        self.lease.complete();
    }
}

impl Drop for StreamingResponse {
    fn drop(&mut self) {
        // hyper drops a body whose length it knows without asking for its end.
        if !self.ended && self.whole.is_end_stream() {
            self.complete();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Local { full, .. } => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Streaming(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local { full, .. } => full.is_end_stream(),
            Self::Streaming(body) => body.ended || body.whole.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local { full, .. } => full.size_hint(),
            Self::Streaming(body) => body.whole.size_hint(),
        }
    }
}

/// Puts a frame's data on the account.
fn on_account(frame: Peeked, passage: &mut Passage) -> Peeked {
    frame.map(|frame| frame.map(|frame| frame.map_data(|data| passage.take(data))))
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
