//! What a [`crate::Proxy`] is made of, and its bounds.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use guard_policy::Engine;
use guard_telemetry::Metrics;
use rustls::{RootCertStore, pki_types::ServerName, server::ResolvesServerCert};
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
}

/// What one workload, or one of its connections, may hold at a time. Above it: refused, and nobody else notices.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of one workload. Default 256. More are closed at accept.
    pub connections: usize,
    /// Exchanges of one workload that are under way, watches included. Default 1024. More get 429.
    pub exchanges: usize,
    /// HTTP/2 streams on one connection of a client. Default 250, as in Go's server.
    pub streams: u32,
    /// HTTP/2 connections to the API server for one workload. Default 16. An API server without HTTP/2 gets one for each
    /// exchange instead.
    pub upstream_connections: usize,
    /// Streams put on one HTTP/2 connection to the API server, if that allows as many. Default 100, the API server's own.
    pub upstream_streams: usize,
    /// Bytes of a request's headers. Default 1 MiB, the API server's own (Go's `http.DefaultMaxHeaderBytes`).
    pub header_bytes: u32,
    /// Bytes of an answered request's body that are read and thrown away so that the connection can go on. Default 256 KiB,
    /// as in Go's server.
    pub discarded_bytes: u64,
}

/// How long things may take. There is none on bodies: a watch lives for hours.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// TLS handshake with a client. Default 10 s.
    pub handshake: Duration,
    /// A client's connection without a request, and an HTTP/1.1 request's headers. Default 120 s: more than the 90 s
    /// of the API server, so that clients tuned to that never meet a closed connection.
    pub idle: Duration,
    /// TCP connect, and again TLS handshake, with one address of the API server. Default 5 s.
    pub connect: Duration,
    /// Waiting for a free stream to the API server. Default 10 s, then 429.
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            exchanges: 1024,
            streams: 250,
            upstream_connections: 16,
            upstream_streams: 100,
            header_bytes: 1 << 20,
            discarded_bytes: 256 << 10,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            idle: Duration::from_mins(2),
            connect: Duration::from_secs(5),
            stream: Duration::from_secs(10),
            ping: Duration::from_secs(10),
            unanswered: Duration::from_secs(15),
            upstream_idle: Duration::from_mins(1),
            discard: Duration::from_secs(3),
        }
    }
}
