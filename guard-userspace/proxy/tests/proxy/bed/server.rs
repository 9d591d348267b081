//! The API server of the bed: TLS, HTTP/1.1 and HTTP/2, and a handler that each test brings.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{H2, HTTP11, TestBody, full};

/// What a request came with.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) version: Version,
    pub(crate) authority: Option<String>,
}

type Answer = Pin<Box<dyn Future<Output = Response<TestBody>> + Send>>;
/// Answers a request of the bed's API server.
pub(crate) type Handler = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

pub(crate) fn handler<F, R>(answer: F) -> Handler
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<TestBody>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(answer(request)))
}

/// Answers 200 with the body `ok`.
pub(crate) fn ok() -> Handler {
    handler(|_| async { Response::new(full("ok")) })
}

/// How the API server is.
pub(crate) struct ApiOptions {
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<&'static [u8]>,
    pub(crate) streams: u32,
    pub(crate) ip: IpAddr,
    /// The name in its certificate.
    pub(crate) name: String,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            alpn: vec![H2, HTTP11],
            streams: 100,
            ip: Ipv4Addr::LOCALHOST.into(),
            name: "kubernetes.default.svc".into(),
        }
    }
}

/// A running API server. Dropped, it and its connections are gone.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) roots: Arc<RootCertStore>,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepted: Arc<AtomicUsize>,
    connections: Arc<Mutex<JoinSet<()>>>,
    _accepting: JoinSet<()>,
}

impl Api {
    pub(crate) async fn start(handler: Handler) -> Self {
        Self::start_with(ApiOptions::default(), handler).await
    }

    /// One that a test serves itself.
    pub(crate) fn at(address: SocketAddr, roots: Arc<RootCertStore>) -> Self {
        Self {
            address,
            roots,
            seen: Arc::default(),
            accepted: Arc::default(),
            connections: Arc::default(),
            _accepting: JoinSet::new(),
        }
    }

    pub(crate) async fn start_with(options: ApiOptions, handler: Handler) -> Self {
        let (config, roots) = certify(&options.name, &options.versions, &options.alpn);
        let listener = TcpListener::bind((options.ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let accepted = Arc::<AtomicUsize>::default();
        let connections = Arc::<Mutex<JoinSet<()>>>::default();
        let mut accepting = JoinSet::new();
        let (of_connections, of_accepted, of_seen) =
            (Arc::clone(&connections), Arc::clone(&accepted), Arc::clone(&seen));
        accepting.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                of_accepted.fetch_add(1, Ordering::SeqCst);
                let acceptor = TlsAcceptor::from(Arc::clone(&config));
                let connection = serve(acceptor, tcp, options.streams, Arc::clone(&handler), Arc::clone(&of_seen));
                of_connections.lock().unwrap().spawn(connection);
            }
        });
        Self { address, roots, seen, accepted, connections, _accepting: accepting }
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Those behind the first ones.
    pub(crate) fn seen_since(&self, first: usize) -> Vec<Seen> {
        self.seen.lock().unwrap()[first..].to_vec()
    }

    /// TCP connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Drops every connection where it stands, as a process that is killed does.
    pub(crate) fn kill_connections(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}

/// A TLS configuration with a certificate for `name` of a CA of its own, and that CA.
pub(crate) fn certify(
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> (Arc<ServerConfig>, Arc<RootCertStore>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    // A name of its own, or a client that trusts another CA would find a bad signature instead of an unknown CA.
    ca.distinguished_name.push(DnType::CommonName, uuid::Uuid::new_v4().to_string());
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca_certificate.der().clone()).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    (Arc::new(config), Arc::new(roots))
}

async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, streams: u32, handler: Handler, seen: Arc<Mutex<Vec<Seen>>>) {
    tcp.set_nodelay(true).unwrap();
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let http2 = tls.get_ref().1.alpn_protocol() == Some(H2);
    let service = service_fn(move |request: Request<Incoming>| {
        seen.lock().unwrap().push(Seen {
            method: request.method().to_string(),
            target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: request.headers().clone(),
            version: request.version(),
            authority: request.uri().authority().map(ToString::to_string),
        });
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let io = TokioIo::new(tls);
    // A test that breaks the connection makes these errors on purpose.
    if http2 {
        let _ = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(streams)
            .serve_connection(io, service)
            .await;
    } else {
        let _ = http1::Builder::new().serve_connection(io, service).with_upgrades().await;
    }
}

/// A `Response` of this status with a body.
pub(crate) fn status(code: StatusCode, body: &'static str) -> Response<TestBody> {
    let mut response = Response::new(full(body));
    *response.status_mut() = code;
    response
}
