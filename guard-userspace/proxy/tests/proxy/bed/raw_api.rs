//! An API server that a test plays frame by frame.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    H2, certify,
    frames::{
        PREFACE,
        flag::{ACK, END_HEADERS, END_STREAM},
        frame,
        kind::{DATA, GOAWAY, HEADERS, PING, SETTINGS, WINDOW_UPDATE},
    },
    soon,
};

/// A header block: `:status: 200`, by the static table (RFC 7541, A).
pub(crate) const STATUS_200: &[u8] = &[0x88];

/// GOAWAY.
pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// Kind, flags, stream, payload.
pub(crate) type Frame = (u8, u8, u32, Vec<u8>);

/// An API server of which the test writes every frame.
pub(crate) struct RawApi {
    pub(crate) address: SocketAddr,
    pub(crate) roots: Arc<RootCertStore>,
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

/// One connection to it.
pub(crate) struct RawConnection(TlsStream<TcpStream>);

impl RawApi {
    pub(crate) async fn listen() -> Self {
        let (config, roots) = certify("kubernetes.default.svc", &[&rustls::version::TLS13], &[H2]);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        Self { address: listener.local_addr().unwrap(), roots, listener, config }
    }

    /// The next connection, after its first SETTINGS.
    pub(crate) async fn accept(&self) -> RawConnection {
        let (tcp, _) = soon("a connection", self.listener.accept()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut tls = TlsAcceptor::from(Arc::clone(&self.config)).accept(tcp).await.unwrap();
        let mut preface = [0; PREFACE.len()];
        tls.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
        let mut connection = RawConnection(tls);
        connection.send(&frame(SETTINGS, 0, 0, &[])).await;
        connection
    }
}

impl RawConnection {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next frame that is about a stream; SETTINGS and PING are acknowledged. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            soon("a frame", self.0.read_exact(&mut head)).await.ok()?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.ok()?;
            let (kind, flags, stream) = (head[3], head[4], u32::from_be_bytes(head[5..].try_into().unwrap()));
            match kind {
                SETTINGS if flags & ACK == 0 => self.send(&frame(SETTINGS, ACK, 0, &[])).await,
                PING if flags & ACK == 0 => self.send(&frame(PING, ACK, 0, &payload)).await,
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some((kind, flags, stream, payload)),
            }
        }
    }

    /// The stream of the next request.
    pub(crate) async fn request(&mut self) -> u32 {
        loop {
            let (kind, _, stream, _) = self.next().await.expect("a request");
            if kind == HEADERS {
                return stream;
            }
        }
    }

    /// An answer to a request, whole.
    pub(crate) async fn answer(&mut self, stream: u32, body: &[u8]) {
        self.send(&frame(HEADERS, END_HEADERS, stream, STATUS_200)).await;
        self.send(&frame(DATA, END_STREAM, stream, body)).await;
    }
}
