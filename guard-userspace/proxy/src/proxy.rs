//! The proxy itself: what all connections share.

use std::sync::Arc;

use guard_identity::Workload;
use rustls::ServerConfig;
use thiserror::Error;
use tokio::net::TcpStream;

use crate::{
    DrainSignal, Handle, ProxyConfig, UpstreamCredentials, connection, counted,
    quota::Quota,
    tls,
    upstream::{Dialer, Pool},
};

/// Why there is no proxy.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// TLS can't be set up.
    #[error("setting up TLS towards agents: {0}; does the kernel give random numbers (getrandom)?")]
    Tls(#[from] rustls::Error),
}

/// Serves agents' connections. One per process; every workload has its own [`Handle`].
pub struct Proxy {
    pub(crate) config: ProxyConfig,
    pub(crate) server_tls: Arc<ServerConfig>,
    dialer: Arc<Dialer>,
}

impl Proxy {
    /// A proxy that has no connection yet.
    ///
    /// # Errors
    /// If TLS can't be set up.
    pub fn new(config: ProxyConfig) -> Result<Arc<Self>, ProxyError> {
        counted::begin(&config.metrics);
        let server_tls = tls::server(Arc::clone(&config.serving))?;
        let dialer = Arc::new(Dialer::new(config.upstream.clone(), config.timeouts.clone()));
        Ok(Arc::new(Self { config, server_tls, dialer }))
    }

    /// What serves one workload: its identity with the credential that its requests are forwarded with.
    pub fn handle(&self, workload: Arc<Workload>, credentials: Arc<dyn UpstreamCredentials>) -> Arc<Handle> {
        let config = &self.config;
        let quota = Arc::new(Quota::new(Arc::clone(&workload), Arc::clone(&config.metrics), &config.limits));
        let pool = Pool::new(
            Arc::clone(&self.dialer),
            Arc::clone(&config.metrics),
            Arc::clone(&quota),
            config.limits.clone(),
            config.timeouts.clone(),
        );
        Arc::new(Handle::new(workload, credentials, pool, quota))
    }

    /// Serves one accepted connection of the workload `who` until it ends, upgraded streams included.
    ///
    /// Dropping the future cuts the connection with everything on it; the client sees no orderly end.
    pub async fn serve(self: &Arc<Self>, tcp: TcpStream, who: Arc<Handle>, drain: DrainSignal) {
        let turns = who.quota().turns.clone();
        turns.run(Box::pin(connection::serve(self, tcp, who, drain))).await;
    }
}
