//! A proxy before an API server, with a listener as a pod would reach it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use guard_policy::Engine;
use guard_proxy::{Access, Drain, Handle, Limits, Proxy, ProxyConfig, Timeouts, Upstream};
use guard_telemetry::Metrics;
use rustls::{RootCertStore, pki_types::ServerName};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{Api, Client, ClientOptions, Credentials, H2, HTTP11, Recorder, Verifier, certify, workload};

/// What differs from a bed with default limits and no policy.
pub(crate) struct BedOptions {
    pub(crate) policies: &'static str,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// Before the API server's own address.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) server_name: &'static str,
}

impl Default for BedOptions {
    fn default() -> Self {
        Self {
            policies: "",
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            addresses: vec![],
            server_name: "kubernetes.default.svc",
        }
    }
}

/// A proxy, its listener, and everything that it was given.
pub(crate) struct Bed {
    pub(crate) address: SocketAddr,
    /// The CA that the proxy's own certificate comes from.
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) upstream_roots: Arc<ArcSwap<RootCertStore>>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: Drain,
    connections: Arc<Mutex<JoinSet<()>>>,
    _accepting: JoinSet<()>,
    /// Of the API servers.
    pub(crate) addresses: watch::Sender<Vec<SocketAddr>>,
}

impl Bed {
    pub(crate) async fn before(api: &Api) -> Self {
        Self::with(api, BedOptions::default()).await
    }

    pub(crate) async fn with(api: &Api, options: BedOptions) -> Self {
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let (serving, roots) = certify("kubernetes.default.svc", &versions, &[H2, HTTP11]);
        let mut addresses = options.addresses;
        addresses.push(api.address);
        let (addresses_sender, addresses) = watch::channel(addresses);
        let upstream_roots = Arc::new(ArcSwap::new(Arc::clone(&api.roots)));
        let recorder = Arc::<Recorder>::default();
        let metrics = Arc::new(Metrics::new().unwrap());
        let engine = Engine::from_yaml(options.policies, "policies.yaml").unwrap();
        let proxy = Proxy::new(ProxyConfig {
            upstream: Upstream {
                addresses,
                server_name: ServerName::try_from(options.server_name).unwrap(),
                roots: Arc::clone(&upstream_roots),
                access: Access::default(),
            },
            serving: Arc::clone(&serving.cert_resolver),
            verifier: Arc::new(Verifier),
            policies: Arc::new(ArcSwap::from_pointee(engine)),
            observer: Arc::clone(&recorder) as _,
            gate: Arc::clone(&recorder) as _,
            metrics: Arc::clone(&metrics),
            limits: options.limits,
            timeouts: options.timeouts,
        })
        .unwrap();
        let credentials = Arc::<Credentials>::default();
        let handle = proxy.handle(workload("bot-0"), Arc::clone(&credentials) as _);
        let (drain, signal) = Drain::new();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<JoinSet<()>>>::default();
        let served = Arc::clone(&connections);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (proxy, handle, signal) = (Arc::clone(&proxy), Arc::<Handle>::clone(&handle), signal.clone());
                served.lock().unwrap().spawn(async move { proxy.serve(tcp, handle, signal).await });
            }
        });
        Self {
            address,
            roots,
            upstream_roots,
            recorder,
            credentials,
            metrics,
            drain,
            connections,
            _accepting: accepting,
            addresses: addresses_sender,
        }
    }

    pub(crate) async fn client(&self, options: &ClientOptions) -> Client {
        Client::connect(self.address, &self.roots, options).await
    }

    /// Cuts every connection, as the node guard does with a pod that is gone.
    pub(crate) fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    /// Connections that are served now.
    pub(crate) fn open_connections(&self) -> i64 {
        self.metrics.connections.get()
    }

    /// All connections that were ever served.
    pub(crate) fn served(&self) -> u64 {
        self.metrics.connections_total.with_label_values(&["served"]).get()
    }
}
