//! One connection of a client: an exec, a port-forward, or a request.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use flate2::{Compress, Compression, FlushCompress};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    server::{ECHO, PIECE, SHORT_HEAD, message},
    servers::{Certified, NAME},
};

/// The key of all masked frames.
const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

pub(crate) struct Stream(TlsStream<TcpStream>);

impl Stream {
    async fn connect(tls: &Certified, address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut config = Arc::unwrap_or_clone(tls.client(Some(b"http/1.1")));
        // Every connection is a new client.
        config.resumption = rustls::client::Resumption::disabled();
        let name = ServerName::try_from(NAME).unwrap();
        Self(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap())
    }

    async fn request(&mut self, head: &str, token: &str) -> String {
        let request = format!("{head}host: {NAME}\r\nauthorization: Bearer {token}\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(answer).unwrap()
    }

    async fn upgrade(tls: &Certified, address: SocketAddr, token: &str, target: &str, protocol: &str) -> Self {
        let mut stream = Self::connect(tls, address).await;
        let head = format!(
            "GET /api/v1/namespaces/a/pods/p/{target} HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: {protocol}\r\n"
        );
        let answer = stream.request(&head, token).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        stream
    }

    pub(crate) async fn exec(tls: &Certified, address: SocketAddr, token: &str, command: &str) -> Self {
        let target = format!("exec?stdin=1&stdout=1&command={command}");
        Self::upgrade(tls, address, token, &target, "v5.channel.k8s.io").await
    }

    /// A port-forward with one connection, through which the server sends `bytes`.
    pub(crate) async fn forward(tls: &Certified, address: SocketAddr, token: &str, bytes: u64) -> Self {
        let target = format!("portforward?command=forward/{bytes}");
        let mut stream = Self::upgrade(tls, address, token, &target, "SPDY/3.1+portforward.k8s.io").await;
        stream.0.write_all(&opening()).await.unwrap();
        stream.0.flush().await.unwrap();
        stream
    }

    /// A connection with one request on it.
    pub(crate) async fn get(tls: &Certified, address: SocketAddr, token: &str) {
        let mut stream = Self::connect(tls, address).await;
        let answer = stream.request("GET /version HTTP/1.1\r\n", token).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// How long each message took to be echoed.
    pub(crate) async fn echoes(&mut self, count: usize) -> Vec<Duration> {
        let message = masked(&[0; 1 + ECHO]);
        assert_eq!(message.len(), SHORT_HEAD + 1 + ECHO);
        let mut answer = [0; 3 + ECHO];
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.0.write_all(&message).await.unwrap();
            self.0.flush().await.unwrap();
            self.0.read_exact(&mut answer).await.unwrap();
            times.push(start.elapsed());
        }
        times
    }

    pub(crate) async fn download(&mut self, bytes: u64) {
        self.read(bytes / PIECE as u64 * message(false).len() as u64).await;
    }

    pub(crate) async fn forwarded(&mut self, bytes: u64) {
        self.read(bytes / PIECE as u64 * message(true).len() as u64).await;
    }

    pub(crate) async fn upload(&mut self, bytes: u64) {
        let message = masked(&vec![0; 1 + PIECE]);
        for _ in 0..bytes / PIECE as u64 {
            self.0.write_all(&message).await.unwrap();
        }
        self.0.flush().await.unwrap();
        let mut done = [0; 3];
        self.0.read_exact(&mut done).await.unwrap();
    }

    async fn read(&mut self, mut left: u64) {
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            let read = self.0.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "{left} bytes are missing");
            left -= read as u64;
        }
    }
}

fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    if let Ok(short @ ..=125) = u8::try_from(payload.len()) {
        frame.push(0x80 + short);
    } else {
        frame.push(0x80 + 126);
        frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    }
    frame.extend_from_slice(&KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The message in which a client opens the error and the data stream of one connection.
pub(crate) fn opening() -> Vec<u8> {
    // A reader takes headers without SPDY's dictionary, too: zlib says whether there is one.
    let mut zlib = Compress::new(Compression::fast(), true);
    let mut frames = Vec::new();
    for (stream, kind) in [(1_u32, "error"), (3, "data")] {
        let mut block = 3_u32.to_be_bytes().to_vec();
        for text in ["streamtype", kind, "port", "8080", "requestid", "0"] {
            block.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        let mut deflated = Vec::with_capacity(256);
        zlib.compress_vec(&block, &mut deflated, FlushCompress::Sync).unwrap();
        let length = u32::try_from(10 + deflated.len()).unwrap().to_be_bytes();
        frames.extend_from_slice(&[0x80, 3, 0, 1, 0]);
        frames.extend_from_slice(&length[1..]);
        frames.extend_from_slice(&stream.to_be_bytes());
        frames.extend_from_slice(&[0; 6]);
        frames.extend_from_slice(&deflated);
    }
    masked(&frames)
}
