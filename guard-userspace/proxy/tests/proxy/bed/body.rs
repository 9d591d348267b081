//! Bodies made of pieces that a test sends one by one.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use tokio::sync::mpsc;

/// The body type of the bed's requests and responses.
pub(crate) type TestBody = BoxBody<Bytes, io::Error>;

/// What a streamed body is made of. Dropping the sender ends the body; an error breaks it off.
pub(crate) type Piece = io::Result<Bytes>;

struct Stream(mpsc::Receiver<Piece>);

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A body whose pieces are sent through the channel. Its sender sees when the body is dropped.
pub(crate) fn stream() -> (mpsc::Sender<Piece>, TestBody) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Stream(receiver).boxed())
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> TestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

pub(crate) fn empty() -> TestBody {
    full(Bytes::new())
}
