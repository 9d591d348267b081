//! The one client: a connection that is kept, small requests one after another, large answers read to their end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::servers::{Certified, NAME};

/// Receive windows in bytes as client-go has them for a stream (Go's `transportDefaultStreamFlow`), and ample for the rest.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http2,
    Http11,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http2 => "http2",
            Self::Http11 => "http1",
        }
    }
}

pub(crate) struct Client {
    sender: Sender,
    token: String,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    pub(crate) async fn connect(tls: &Certified, address: SocketAddr, protocol: Protocol, token: &str) -> Self {
        let alpn: &[u8] = if protocol == Protocol::Http2 { b"h2" } else { b"http/1.1" };
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let io = TokioIo::new(TlsConnector::from(tls.client(Some(alpn))).connect(name, tcp).await.unwrap());
        let sender = if protocol == Protocol::Http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .handshake(io)
                .await
                .unwrap();
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Self { sender, token: token.to_owned() }
    }

    /// Reads an answer of `bytes` bytes; how long it took.
    pub(crate) async fn download(&mut self, bytes: u64) -> Duration {
        let start = Instant::now();
        let mut body = self.get(&format!("/api/v1/{bytes}")).await.into_body();
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += u64::try_from(frame.unwrap().into_data().unwrap().len()).unwrap();
        }
        assert_eq!(read, bytes);
        start.elapsed()
    }

    /// How long each of `requests` small requests took, to the end of its answer.
    pub(crate) async fn latencies(&mut self, requests: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(requests);
        for _ in 0..requests {
            let start = Instant::now();
            self.get("/version").await.into_body().collect().await.unwrap();
            times.push(start.elapsed());
        }
        times
    }

    async fn get(&mut self, path: &str) -> Response<Incoming> {
        let request = |uri: String| {
            Request::get(uri)
                .header("authorization", format!("Bearer {}", self.token))
                .header("accept", "application/json")
                .header("user-agent", "relay-bench")
        };
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                let request = request(path.to_owned()).header("host", NAME).body(Empty::new()).unwrap();
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Sender::Http2(sender) => {
                let request = request(format!("https://{NAME}{path}")).body(Empty::new()).unwrap();
                sender.send_request(request).await.unwrap()
            }
        };
        assert_eq!(response.status(), StatusCode::OK);
        response
    }
}
