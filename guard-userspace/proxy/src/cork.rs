//! Writes to a client in large pieces.
//!
//! hyper flushes after every HTTP/2 frame: a TLS record of nine bytes for the frame's header, one for its payload, and a
//! system call. A corked stream holds what is written until the connection has nothing more to do, and then
//! sends it: nothing waits longer than the polls that wrote it. So the head and the body of a short answer leave together:
//! a client that still sends, and sees the head of a refusal alone, may end its request in a way that costs it the rest.

mod polls;

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

pub(crate) use self::polls::Polls;

/// Bytes held at most: what rustls takes at once.
const HOLD: usize = 64 << 10;
/// Bytes read at once for nothing: a TLS record.
const LINGERING_READ: usize = 16 << 10;

/// A stream that has something to say at its end.
pub(crate) trait Spoken {
    /// What a client is told that was cut off, where the stream's protocol has room for it now.
    fn farewell(&self) -> Option<Vec<u8>>;
}

/// The stream, as hyper has it.
pub(crate) struct Corked<T>(Arc<Mutex<Inner<T>>>);

/// The same stream, as whoever polls hyper has it.
pub(crate) struct Cork<T> {
    inner: Arc<Mutex<Inner<T>>>,
    polls: Polls,
}

struct Inner<T> {
    stream: T,
    held: Vec<u8>,
    /// How many of `held` are sent.
    sent: usize,
    /// Whether a flush waits for the cork.
    corked: bool,
    /// Sending what was held failed, which whoever wrote it has yet to learn.
    failed: bool,
    /// Whether everything was sent and then the end.
    shut_down: bool,
}

/// A corked stream and its cork.
pub(crate) fn cork<T>(stream: T) -> (Corked<T>, Cork<T>) {
    let inner = Inner { stream, held: Vec::new(), sent: 0, corked: true, failed: false, shut_down: false };
    let shared = Arc::new(Mutex::new(inner));
    (Corked(Arc::clone(&shared)), Cork { inner: shared, polls: Polls::default() })
}

impl<T: AsyncWrite + Unpin> Cork<T> {
    /// Where those are counted who run beside the connection and write to it.
    pub(crate) fn polls(&self) -> Polls {
        self.polls.clone()
    }

    /// Polls `connection`, which writes to the stream, and sends what each poll wrote.
    pub(crate) async fn drive<F: Future>(&self, mut connection: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            let ended = self.polls.ended();
            let polled = connection.as_mut().poll(cx);
            if polled.is_pending() && !self.polls.are_over(ended, cx) {
                return Poll::Pending;
            }
            let mut inner = lock(&self.inner);
            if let Poll::Ready(Err(_)) = inner.poll_send(cx) {
                inner.failed = true;
                cx.waker().wake_by_ref();
            }
            polled
        })
        .await
    }

    /// Takes the cork out, for what follows an upgrade: every flush is one from here on. Sends what is held.
    pub(crate) async fn remove(self) -> io::Result<()> {
        lock(&self.inner).corked = false;
        poll_fn(|cx| lock(&self.inner).poll_send(cx)).await
    }
}

impl<T: AsyncWrite + Spoken + Unpin> Cork<T> {
    /// Says what there is to say to a client that was cut off, and ends the stream.
    pub(crate) async fn bid_farewell(&self, time: Duration) {
        let mut said = false;
        let saying = poll_fn(|cx| {
            let mut inner = lock(&self.inner);
            ready!(inner.poll_drain(cx))?;
            if !said {
                let Some(farewell) = inner.stream.farewell() else { return Poll::Ready(Ok(())) };
                inner.held = farewell;
                said = true;
            }
            inner.poll_end(cx)
        });
        // A client that does not read is not told.
        let _: Result<io::Result<()>, _> = timeout(time, saying).await;
    }
}

impl<T: AsyncRead + Unpin> Cork<T> {
    /// Reads for nothing what still comes after an orderly end from our side, until the other's: closed with
    /// something unread, TCP resets the connection, and a client that writes never sees its answer (RFC 9112, 9.6).
    pub(crate) async fn linger(self, time: Duration) {
        if !lock(&self.inner).shut_down {
            return;
        }
        let mut buffer = vec![0; LINGERING_READ];
        let ended = poll_fn(|cx| {
            loop {
                let mut into = ReadBuf::new(&mut buffer);
                let read = ready!(Pin::new(&mut lock(&self.inner).stream).poll_read(cx, &mut into));
                if read.is_err() || into.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        });
        let _ = timeout(time, ended).await;
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    /// Sends everything that is held.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        self.held.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Sends everything that is held, and the end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.shut_down = true;
        Poll::Ready(Ok(()))
    }

    fn check(&self) -> io::Result<()> {
        if self.failed { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Corked<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        inner.check()?;
        if inner.held.len() >= HOLD {
            ready!(inner.poll_drain(cx))?;
        }
        let before = inner.held.len();
        for piece in pieces {
            let room = HOLD - inner.held.len();
            inner.held.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Poll::Ready(Ok(inner.held.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.check()?;
        if inner.corked { Poll::Ready(Ok(())) } else { inner.poll_send(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.check()?;
        inner.poll_end(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Corked<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut inner.stream).poll_read(cx, into)
    }
}

fn lock<T>(shared: &Mutex<Inner<T>>) -> MutexGuard<'_, Inner<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_a_poll_wrote_is_sent_at_its_end_even_if_it_goes_on() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (mut corked, cork) = cork(near);
        let writes = async {
            for _ in 0..3 {
                corked.write_all(b"frame").await.unwrap();
                corked.flush().await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let mut writes = std::pin::pin!(writes);
        let mut received = [0; 15];
        tokio::select! {
            () = cork.drive(writes.as_mut()) => panic!("it goes on for ever"),
            read = far.read_exact(&mut received) => drop(read.unwrap()),
        }
        assert_eq!(&received, b"frameframeframe");
    }

    #[tokio::test]
    async fn more_than_it_holds_passes_a_reader_that_is_slow() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (mut corked, cork) = cork(near);
        let sent: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut writes = Box::pin(async {
            corked.write_all(&sent).await.unwrap();
            corked.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        let ((), read) = tokio::join!(cork.drive(writes.as_mut()), far.read_to_end(&mut received));
        read.unwrap();
        assert!(received == sent);
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_is_an_error_for_the_writer() {
        let (near, far) = tokio::io::duplex(1000);
        drop(far);
        let (mut corked, cork) = cork(near);
        let mut writes = Box::pin(async {
            loop {
                corked.write_all(b"frame").await?;
                tokio::task::yield_now().await;
            }
        });
        let ended: io::Result<()> = cork.drive(writes.as_mut()).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn without_its_cork_a_flush_is_a_flush() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (mut corked, cork) = cork(near);
        corked.write_all(b"101").await.unwrap();
        cork.remove().await.unwrap();
        corked.write_all(b"stdin").await.unwrap();
        corked.flush().await.unwrap();
        let mut received = [0; 8];
        far.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"101stdin");
    }
}
