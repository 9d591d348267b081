//! An API server with a kubelet behind it, as far as bytes go.

use std::{convert::Infallible, pin::Pin, sync::Arc, task};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::{party::Party, servers::Certified};

/// Payload of one message of cp, in bytes: client-go's buffer.
pub(crate) const PIECE: usize = 32 << 10;
/// Payload of one message of the echo, in bytes.
pub(crate) const ECHO: usize = 64;
/// Head of a client's message of up to 125 bytes: two bytes and the key.
pub(crate) const SHORT_HEAD: usize = 6;

pub(crate) fn start(tls: &Certified) -> Party {
    let acceptor = TlsAcceptor::from(Arc::new(tls.server.clone()));
    Party::start("server", move || {
        move |tcp| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                let io = TokioIo::new(tls);
                if http2 {
                    let mut server = http2::Builder::new(TokioExecutor::new());
                    let _ = server.max_concurrent_streams(250).serve_connection(io, service_fn(answer)).await;
                } else {
                    let server = http1::Builder::new();
                    let _ = server.serve_connection(io, service_fn(answer)).with_upgrades().await;
                }
            }
        }
    })
}

/// A body that is short, or that never ends and says one thing, as a watch.
enum Said {
    Short(Option<Bytes>),
    Watch(Option<Bytes>),
}

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Short(bytes) => task::Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Watch(bytes) => match bytes.take() {
                Some(bytes) => task::Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => task::Poll::Pending,
            },
        }
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Said>, Infallible> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    if query.contains("watch=1") {
        let event = Bytes::from_static(b"{\"type\":\"BOOKMARK\",\"object\":{}}\n");
        return Ok(Response::new(Said::Watch(Some(event))));
    }
    let Some(upgrade) = request.headers().get("upgrade").cloned() else {
        return Ok(Response::new(Said::Short(Some(Bytes::from_static(b"{}")))));
    };
    let mut response = Response::new(Said::Short(None));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let protocol = request.headers()["sec-websocket-protocol"].clone();
    let headers = response.headers_mut();
    headers.insert("connection", "Upgrade".parse().unwrap());
    headers.insert("upgrade", upgrade);
    headers.insert("sec-websocket-protocol", protocol);
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(io) = upgraded.await else { return };
        let command = query.split("command=").nth(1).unwrap_or_default().to_owned();
        let mut parts = command.split('/');
        let (what, bytes) = (parts.next().unwrap(), parts.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0));
        let io = TokioIo::new(io);
        // A client that has seen enough goes away.
        let _ = match what {
            "echo" => echo(io).await,
            "send" => send(io, bytes, false).await,
            "take" => take(io, bytes).await,
            _ => forward(io, bytes).await,
        };
    });
    Ok(response)
}

async fn echo(mut io: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut message = [0; SHORT_HEAD + 1 + ECHO];
    let mut answer = [1; 3 + ECHO];
    answer[..2].copy_from_slice(&[0x82, u8::try_from(1 + ECHO).unwrap()]);
    loop {
        io.read_exact(&mut message).await?;
        io.write_all(&answer).await?;
        io.flush().await?;
    }
}

async fn send(mut io: impl AsyncWrite + Unpin, bytes: u64, spdy: bool) -> std::io::Result<()> {
    let message = message(spdy);
    for _ in 0..bytes / PIECE as u64 {
        io.write_all(&message).await?;
    }
    io.flush().await?;
    std::future::pending().await
}

/// One message of the server's: of a channel, or of a tunnel with one frame of SPDY.
pub(crate) fn message(spdy: bool) -> Vec<u8> {
    let inner = if spdy { 8 } else { 1 };
    let length = u16::try_from(inner + PIECE).unwrap().to_be_bytes();
    let mut message = vec![0x82, 126, length[0], length[1]];
    if spdy {
        message.extend_from_slice(&[0, 0, 0, 3, 0, 0, 0x80, 0]);
    } else {
        message.push(1);
    }
    message.resize(4 + inner + PIECE, b'x');
    message
}

async fn take(mut io: impl AsyncRead + AsyncWrite + Unpin, bytes: u64) -> std::io::Result<()> {
    // Each message has a head of eight bytes and the channel.
    let mut left = bytes / PIECE as u64 * (PIECE as u64 + 9);
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let read = io.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        left -= read as u64;
    }
    io.write_all(&[0x82, 1, 3]).await?;
    io.flush().await?;
    std::future::pending().await
}

async fn forward(mut io: impl AsyncRead + AsyncWrite + Unpin, bytes: u64) -> std::io::Result<()> {
    // The client's two streams; what they say is known.
    let mut opened = vec![0; crate::stream::opening().len()];
    io.read_exact(&mut opened).await?;
    send(io, bytes, true).await
}
