//! A new TLS connection to one of the API server's addresses.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, uri::Authority};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::forward_proxy;
use crate::{
    config::{Timeouts, Upstream},
    tls::{self, Socket},
};

/// Why there is no connection to the API server.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    /// Nobody has said where it is.
    #[error("no address of the API server is known; look at the EndpointSlices of the Service default/kubernetes")]
    NoAddress,
    /// TCP.
    #[error(
        "connecting to {address}: {source}; is the API server up, and does a firewall on the node let the guard out?"
    )]
    Connect { address: SocketAddr, source: io::Error },
    /// TLS. A certificate of another CA or for another name is here.
    #[error("TLS with {address}: {source}; does the certificate come from the cluster's CA and name {server_name}?")]
    Tls { address: SocketAddr, server_name: String, source: io::Error },
    /// HTTP/2 or HTTP/1.1 did not begin.
    #[error("HTTP with {address}: {source}")]
    Http { address: SocketAddr, source: hyper::Error },
    /// The TLS configuration could not be made.
    #[error("TLS configuration: {0}")]
    Configuration(#[from] rustls::Error),
}

impl DialError {
    /// A label of a bounded set.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Http { .. } => "http",
            Self::Configuration(_) => "configuration",
        }
    }
}

/// Dials for all workloads: they share addresses, roots and TLS sessions, never a connection.
pub(crate) struct Dialer {
    upstream: Upstream,
    timeouts: Timeouts,
    /// Which address is first next time.
    turn: AtomicUsize,
    tls: Mutex<Option<Configurations>>,
}

/// TLS configurations for one set of roots.
#[derive(Clone)]
struct Configurations {
    roots: Arc<RootCertStore>,
    any: Arc<ClientConfig>,
    http11: Arc<ClientConfig>,
}

/// What to offer the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/2, else HTTP/1.1.
    Any,
    /// HTTP/1.1 alone, which can be upgraded.
    Http11,
}

/// A connection, and where to.
pub(crate) struct Dialed {
    pub(crate) stream: TlsStream<Socket>,
    pub(crate) address: SocketAddr,
}

impl Dialed {
    pub(crate) fn is_http2(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(tls::H2)
    }
}

impl Dialer {
    pub(crate) fn new(upstream: Upstream, timeouts: Timeouts) -> Self {
        Self { upstream, timeouts, turn: AtomicUsize::new(0), tls: Mutex::new(None) }
    }

    /// Connects to an address, the next one if that fails. The error is the last one's.
    pub(crate) async fn dial(&self, offer: Offer) -> Result<Dialed, DialError> {
        let config = self.configuration(offer)?;
        let addresses = self.upstream.addresses.borrow().clone();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut last = DialError::NoAddress;
        for n in 0..addresses.len() {
            let address = addresses[first.wrapping_add(n) % addresses.len()];
            match self.dial_one(address, Arc::clone(&config)).await {
                Ok(stream) => return Ok(Dialed { stream, address }),
                Err(error) => {
                    tracing::debug!(%address, %error, "dialling the API server");
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// The name of the API server, for `Host` and `:authority`.
    pub(crate) fn authority(&self) -> Result<(Authority, HeaderValue), http::Error> {
        let name = match &self.upstream.server_name {
            ServerName::IpAddress(address) => match std::net::IpAddr::from(*address) {
                std::net::IpAddr::V4(v4) => v4.to_string(),
                std::net::IpAddr::V6(v6) => format!("[{v6}]"),
            },
            other => other.to_str().into_owned(),
        };
        Ok((Authority::try_from(name.as_str())?, HeaderValue::try_from(name)?))
    }

    async fn dial_one(&self, address: SocketAddr, config: Arc<ClientConfig>) -> Result<TlsStream<Socket>, DialError> {
        let limit = self.timeouts.connect;
        let socket = within(limit, self.connect(address))
            .await
            .and_then(|tcp| tls::socket(tcp, &self.timeouts))
            .map_err(|source| DialError::Connect { address, source })?;
        let server_name = self.upstream.server_name.clone();
        within(limit, TlsConnector::from(config).connect(server_name, socket)).await.map_err(|source| DialError::Tls {
            address,
            server_name: self.upstream.server_name.to_str().into_owned(),
            source,
        })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let mut tcp = TcpStream::connect(address).await?;
        if let Some(proxy) = &self.upstream.access.proxy {
            forward_proxy::ask(&mut tcp, proxy).await?;
        }
        Ok(tcp)
    }

    fn client(&self, roots: &Arc<RootCertStore>, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, rustls::Error> {
        tls::client(Arc::clone(roots), self.upstream.access.client_certificate.clone(), alpn)
    }

    fn configuration(&self, offer: Offer) -> Result<Arc<ClientConfig>, DialError> {
        let roots = self.upstream.roots.load_full();
        let mut cached = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let configurations = match &*cached {
            Some(known) if Arc::ptr_eq(&known.roots, &roots) => known,
            _ => cached.insert(Configurations {
                any: self.client(&roots, &[tls::H2, tls::HTTP11])?,
                http11: self.client(&roots, &[tls::HTTP11])?,
                roots,
            }),
        };
        Ok(Arc::clone(match offer {
            Offer::Any => &configurations.any,
            Offer::Http11 => &configurations.http11,
        }))
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}
