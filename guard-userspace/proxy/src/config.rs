//! What a [`crate::Proxy`] is made of, and its bounds.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use guard_policy::Engine;
use guard_telemetry::Metrics;
use http::HeaderValue;
use rustls::{RootCertStore, client::ResolvesClientCert, pki_types::ServerName, server::ResolvesServerCert};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::watch;

use crate::{Authenticate, GateService, Observer};

/// Everything a proxy needs. Shared parts can change while it runs: addresses, roots, certificate, policies.
pub struct ProxyConfig {
    /// The API server.
    pub upstream: Upstream,
    /// The certificate shown to agents.
    pub serving: Arc<dyn ResolvesServerCert>,
    /// Who checks the tokens of agents.
    pub verifier: Arc<dyn Authenticate>,
    /// What is denied. Swapped as a whole; an exchange keeps the engine that decided it.
    pub policies: Arc<ArcSwap<Engine>>,
    /// Who is told what a person should know.
    pub observer: Arc<dyn Observer>,
    /// Who proves enforcement to a pod's gate.
    pub gate: Arc<dyn GateService>,
    /// Where counts go.
    pub metrics: Arc<Metrics>,
    /// Bounds on what one workload may hold.
    pub limits: Limits,
    /// Bounds on how long things may take.
    pub timeouts: Timeouts,
}

/// Where the API server is and how it proves itself.
#[derive(Clone)]
pub struct Upstream {
    /// Addresses of API servers, any of which will do. Dialled in turn, the next one when one can't be connected.
    pub addresses: watch::Receiver<Vec<SocketAddr>>,
    /// The name its certificate must have.
    pub server_name: ServerName<'static>,
    /// The cluster's CA. Swapped at its rotation: connections made from then on use the new one.
    pub roots: Arc<ArcSwap<RootCertStore>>,
    /// What is between, and what the connection itself proves.
    pub access: Access,
}

impl Upstream {
    /// With nothing between, and nothing but a token to prove who calls.
    pub fn direct(
        addresses: watch::Receiver<Vec<SocketAddr>>,
        server_name: ServerName<'static>,
        roots: Arc<ArcSwap<RootCertStore>>,
    ) -> Self {
        Self { addresses, server_name, roots, access: Access::default() }
    }
}

/// What a kubeconfig may say beyond address and CA. A node needs none of it.
#[derive(Clone, Default)]
pub struct Access {
    /// The certificate by which the API server knows who calls.
    pub client_certificate: Option<Arc<dyn ResolvesClientCert>>,
    /// What stands before each path, without a `/` at its end: the API server is behind a gateway that tells clusters by it.
    pub path_prefix: String,
    /// The proxy on the way. The upstream's addresses are the proxy's.
    pub proxy: Option<ForwardProxy>,
}

/// A proxy that is asked for a connection to the API server.
#[derive(Clone)]
pub struct ForwardProxy {
    /// How it is asked.
    pub kind: ProxyKind,
    /// Host of the API server, resolved by the proxy.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// What proxies understand.
#[derive(Clone)]
pub enum ProxyKind {
    /// `CONNECT` (RFC 9110, 9.3.6), with the value of `Proxy-Authorization` if there is one.
    Http(Option<HeaderValue>),
    /// SOCKS 5 (RFC 1928), without authentication.
    Socks5,
}

/// What one workload, or one of its connections, may hold and do. Above it: refused, and nobody else notices.
///
/// Each is told in docs/limits.md: what its client sees, and which count it adds to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of one workload. Default 256. More are closed at accept.
    pub connections: usize,
    /// TLS handshakes of one workload that are under way. Default 64. More wait.
    pub handshakes: usize,
    /// TLS handshakes of one workload each second; four times as many at once. Default 50. More wait, for as long as a handshake may
    /// take.
    pub handshakes_per_second: u32,
    /// Exchanges of one workload that are under way, watches included. Default 1024. More get 429.
    pub exchanges: usize,
    /// Of these, requests that take one of the places that the API server shares out (its priority and fairness): all but watches and
    /// streams. Default 100. More wait for [`Timeouts::stream`], then get 429.
    pub requests: usize,
    /// HTTP/2 streams on one connection of a client. Default 250, as in Go's server. More are refused with `REFUSED_STREAM`.
    pub streams: u32,
    /// HTTP/2 requests of one workload that the client takes back, or spoils, each second; four times as many at once. Default 200.
    /// The connection that goes beyond is closed with `ENHANCE_YOUR_CALM`.
    pub resets_per_second: u32,
    /// HTTP/2 frames of one workload that carry nothing, each second; four times as many at once. Default 2000, and some for each
    /// frame of data that the client was sent. The connection that goes beyond is closed with `ENHANCE_YOUR_CALM`.
    pub frames_per_second: u32,
    /// HTTP/2 connections to the API server for one workload. Default 16. An API server without HTTP/2 gets one for each
    /// exchange instead.
    pub upstream_connections: usize,
    /// Streams put on one HTTP/2 connection to the API server, if that allows as many. Default 100, the API server's own.
    pub upstream_streams: usize,
    /// Bytes of a request's headers. Default 1 MiB, the API server's own (Go's `http.DefaultMaxHeaderBytes`). More get 431.
    pub header_bytes: u32,
    /// Header lines of a request. Default 256. More get 431.
    pub headers: usize,
    /// Bytes of a request's body. Default 3 MiB, the API server's own. More get 413. Not for what the API server itself passes on
    /// without a limit: the proxies of pods, Services and nodes.
    pub body_bytes: u64,
    /// Bytes of a body each second that a client must send on average, once it has had [`Timeouts::body`]. Default 512. One that is
    /// slower gets 408. Not where the API server has no limit either, and not for upgraded streams.
    pub body_bytes_per_second: u32,
    /// Bytes that all clients of one workload make the guard hold: requests' heads that are not complete or still being answered, and pieces of
    /// bodies on their way to whoever does not read. Default 32 MiB. Bodies wait, heads get 429.
    pub held_bytes: usize,
    /// Bytes of an answered request's body that are read and thrown away so that the connection can go on. Default 256 KiB,
    /// as in Go's server.
    pub discarded_bytes: u64,
}

/// How long things may take. There is none on answers and streams: a watch lives for hours, and `stdin` stays open.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// TLS handshake with a client. Default 10 s.
    pub handshake: Duration,
    /// A client's connection without a request. Default 120 s: more than the 90 s of the API server, so that clients tuned to
    /// that never meet a closed connection.
    pub idle: Duration,
    /// A request's head, from its first byte. Default 30 s. Then 408 in HTTP/1.1, `ENHANCE_YOUR_CALM` in HTTP/2.
    pub head: Duration,
    /// Waiting for a client that sends a body, before [`Limits::body_bytes_per_second`] counts. Default 30 s.
    pub body: Duration,
    /// TCP connect, and again TLS handshake, with one address of the API server. Default 5 s.
    pub connect: Duration,
    /// Waiting for a place among [`Limits::requests`], and again for a free stream to the API server. Default 10 s, then 429.
    pub stream: Duration,
    /// Silence of an HTTP/2 connection to the API server until it is pinged; without an answer in the same time
    /// it is dead. Default 10 s, so a dead one is noticed in 20 s. Also the idle time of any connection
    /// before TCP keep-alive probes.
    pub ping: Duration,
    /// Bytes sent to either side, or keep-alive probes, without any acknowledgement until the connection is dead; it may be
    /// noticed a third sooner. Default 15 s, so a dead peer is noticed in 25 s. For HTTP/1.1 and upgraded
    /// connections, which have no pings, and for clients.
    pub unanswered: Duration,
    /// An unused connection to the API server is closed after this. Default 60 s.
    pub upstream_idle: Duration,
    /// Throwing away what a client sends after its answer, and again after the end of its connection. Default 3 s.
    pub discard: Duration,
}

/// A limit with a value that makes no sense.
#[derive(Debug, Error)]
#[error("limits.{field}: {value} is less than {least}, without which no agent gets an answer")]
pub struct LimitsError {
    field: &'static str,
    value: u64,
    least: u64,
}

impl Limits {
    /// Whether an ordinary client gets through.
    ///
    /// # Errors
    /// The first limit that is too low.
    pub fn check(&self) -> Result<(), LimitsError> {
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let each = [
            ("connections", wide(self.connections), 1),
            ("handshakes", wide(self.handshakes), 1),
            ("handshakesPerSecond", self.handshakes_per_second.into(), 1),
            ("exchanges", wide(self.exchanges), 1),
            ("requests", wide(self.requests), 1),
            ("streams", self.streams.into(), 1),
            ("resetsPerSecond", self.resets_per_second.into(), 1),
            ("framesPerSecond", self.frames_per_second.into(), 10),
            ("upstreamConnections", wide(self.upstream_connections), 1),
            ("upstreamStreams", wide(self.upstream_streams), 1),
            // A token of a cluster has some kilobytes.
            ("headerBytes", self.header_bytes.into(), 16 << 10),
            ("headers", wide(self.headers), 16),
            ("heldBytes", wide(self.held_bytes), 1 << 20),
        ];
        match each.into_iter().find(|(_, value, least)| value < least) {
            Some((field, value, least)) => Err(LimitsError { field, value, least }),
            None => Ok(()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshakes: 64,
            handshakes_per_second: 50,
            exchanges: 1024,
            requests: 100,
            streams: 250,
            resets_per_second: 200,
            frames_per_second: 2000,
            upstream_connections: 16,
            upstream_streams: 100,
            header_bytes: 1 << 20,
            headers: 256,
            body_bytes: 3 << 20,
            body_bytes_per_second: 512,
            held_bytes: 32 << 20,
            discarded_bytes: 256 << 10,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            idle: Duration::from_mins(2),
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            stream: Duration::from_secs(10),
            ping: Duration::from_secs(10),
            unanswered: Duration::from_secs(15),
            upstream_idle: Duration::from_mins(1),
            discard: Duration::from_secs(3),
        }
    }
}
