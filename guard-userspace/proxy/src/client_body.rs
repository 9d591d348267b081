//! A request's body as it comes from a client, and what becomes of the part that nobody needs.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{runtime::Handle, time::timeout};
use tokio_util::sync::CancellationToken;

/// How much of a body is read for nothing, so that the connection can go on.
#[derive(Clone)]
pub(crate) struct Discard {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
    /// Ends it.
    pub(crate) cut: CancellationToken,
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
}

impl ClientBody {
    pub(crate) fn new(incoming: Incoming, head: &Request<()>, discard: Discard) -> Self {
        let http2 = head.version() == Version::HTTP_2;
        let waits = !http2 && head.headers().contains_key(header::EXPECT);
        Self { incoming: Some(incoming), http2, waits, ended: false, discard }
    }

    /// Whether the connection ends after an answer that is given now, since too much would have to be read before the
    /// next request.
    pub(crate) fn ends_connection(&self) -> bool {
        !self.http2 && !self.is_end_stream() && (self.waits || self.size_hint().lower() > self.discard.bytes)
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.waits = false;
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(incoming).poll_frame(cx);
        self.ended = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if self.ended || self.is_end_stream() || self.ends_connection() {
            return;
        }
        if let (Some(rest), Ok(runtime)) = (self.incoming.take(), Handle::try_current()) {
            let cut = self.discard.cut.clone();
            runtime.spawn(cut.run_until_cancelled_owned(throw_away(rest, self.http2, self.discard.clone())));
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
