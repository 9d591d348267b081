//! Reads in large pieces, with a buffer only while there is something in it: thousands of idle connections have none.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once, at most: four TLS records.
const READ: usize = 64 << 10;
/// Buffers that each thread keeps for the next one who reads.
const SPARE: usize = 4;

thread_local! {
    static SPARES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A stream whose reads are buffered.
pub(crate) struct Buffered<T> {
    stream: T,
    buffer: Buffer,
}

/// What was read and is not yet taken.
#[derive(Default)]
struct Buffer {
    /// Empty while nothing is held.
    bytes: Box<[u8]>,
    taken: usize,
    filled: usize,
}

impl<T> Buffered<T> {
    pub(crate) fn new(stream: T) -> Self {
        Self { stream, buffer: Buffer::default() }
    }
}

impl Buffer {
    fn take_spare(&mut self) {
        if self.bytes.is_empty() {
            let spare = SPARES.with_borrow_mut(Vec::pop);
            self.bytes = spare.unwrap_or_else(|| vec![0; READ].into_boxed_slice());
        }
    }

    fn give_back(&mut self) {
        let bytes = std::mem::take(self).bytes;
        SPARES.with_borrow_mut(|spares| {
            if !bytes.is_empty() && spares.len() < SPARE {
                spares.push(bytes);
            }
        });
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Buffered<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, buffer } = &mut *self;
        if buffer.taken == buffer.filled {
            if into.remaining() >= READ {
                return Pin::new(stream).poll_read(cx, into);
            }
            buffer.take_spare();
            let mut read = ReadBuf::new(&mut buffer.bytes);
            let polled = Pin::new(stream).poll_read(cx, &mut read);
            (buffer.taken, buffer.filled) = (0, read.filled().len());
            if !matches!(polled, Poll::Ready(Ok(()))) {
                buffer.give_back();
            }
            ready!(polled)?;
        }
        let length = (buffer.filled - buffer.taken).min(into.remaining());
        into.put_slice(&buffer.bytes[buffer.taken..buffer.taken + length]);
        buffer.taken += length;
        if buffer.taken == buffer.filled {
            buffer.give_back();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Buffered<T> {
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
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_come_in_order_however_they_are_asked_for_and_none_are_held_for_an_idle_reader() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut near = Buffered::new(near);
        let sent: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        far.write_all(&sent).await.unwrap();
        let mut received = Vec::new();
        let mut piece = vec![0; 100_000];
        for length in [1, 4096, 100_000, 7, 60_000].into_iter().cycle() {
            let read = near.read(&mut piece[..length]).await.unwrap();
            received.extend_from_slice(&piece[..read]);
            if received.len() == sent.len() {
                break;
            }
        }
        assert!(received == sent);
        assert!(near.buffer.bytes.is_empty());
        drop(far);
        assert_eq!(near.read(&mut piece).await.unwrap(), 0);
        assert!(near.buffer.bytes.is_empty());
    }
}
