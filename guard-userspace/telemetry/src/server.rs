//! `/metrics`, `/healthz` and `/readyz` over plain HTTP, for the node's Prometheus and the kubelet.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};

/// Scrapes that are answered at the same time; more wait.
const MAX_CONNECTIONS: usize = 32;
/// How long a scraper may take for its headers, idle time included.
const HEADER_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause after a failed accept (no descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why metrics can't be served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("listening on {address} for metrics: {source}; is another guard or exporter on that port?")]
    Listen {
        /// The address tried.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// There can be no socket in the file system.
    #[error("making the socket {} failed: {source}; its folder must exist and be writable", path.display())]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Whether this process does its work now. Clones share one state, which begins as *not ready*.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<RwLock<Option<String>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Some("starting".to_owned()))))
    }
}

impl Readiness {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.say((!ready).then(|| "not at work".to_owned()));
    }

    /// Not ready, and what is missing.
    pub fn wait_for(&self, what: impl Into<String>) {
        self.say(Some(what.into()));
    }

    /// What was said last.
    pub fn get(&self) -> bool {
        self.waits_for().is_none()
    }

    /// What is missing, in words; `None` when ready.
    pub fn waits_for(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, waits_for: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = waits_for;
    }
}

/// Listens on `address` and serves until the future is dropped. Returns the address (the port may be 0) with that future.
///
/// # Errors
/// If the address can't be listened on.
pub async fn serve(
    address: SocketAddr,
    registry: Registry,
    ready: Readiness,
) -> Result<(SocketAddr, impl Future<Output = Infallible> + Send), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((bound, accept(listener, registry, ready)))
}

/// The same on a socket of the file system, for whoever sees the same file system: two processes in one network can't be mistaken for each
/// other. What an earlier process left there is replaced.
///
/// # Errors
/// If there can be no socket at `path`.
pub fn serve_socket(
    path: &Path,
    registry: Registry,
    ready: Readiness,
) -> Result<impl Future<Output = Infallible> + Send + use<>, ServeError> {
    let failed = |source| ServeError::Socket { path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    Ok(async move {
        loop {
            match listener.accept().await {
                // The kubelet asks once at a time.
                Ok((stream, _)) => serve_connection(stream, &registry, &ready).await,
                Err(error) => {
                    tracing::warn!(%error, "accepting a question for health");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

async fn accept(listener: TcpListener, registry: Registry, ready: Readiness) -> Infallible {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((tcp, _)) => {
                let (registry, ready) = (registry.clone(), ready.clone());
                tokio::spawn(async move {
                    serve_connection(tcp, &registry, &ready).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a metrics connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin>(stream: S, registry: &Registry, ready: &Readiness) {
    let service = service_fn(|request| {
        let response = respond(&request, registry, ready);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a metrics connection ended");
    }
}

fn respond(request: &Request<Incoming>, registry: &Registry, ready: &Readiness) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/metrics" => metrics(registry),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match ready.waits_for() {
            None => text(StatusCode::OK, "ok\n"),
            Some(what) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {what}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n"),
    }
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let encoder = TextEncoder::new();
    let mut page = Vec::new();
    if let Err(error) = encoder.encode(&registry.gather(), &mut page) {
        tracing::error!(%error, "encoding metrics");
        return text(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be encoded; see the log\n");
    }
    let mut response = Response::new(Full::new(Bytes::from(page)));
    let content_type = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};

    use super::*;
    use crate::Metrics;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn prometheus_can_read_what_was_counted() {
        let metrics = Metrics::new().unwrap();
        metrics.exchanges_total.with_label_values(&["list", "deny", "403"]).inc_by(2);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, server) = serve(any, metrics.registry().clone(), Readiness::default()).await.unwrap();
        tokio::spawn(server);
        let page = get(address, "/metrics").await;
        assert!(page.contains(r#"guard_exchanges_total{code="403",decision="deny",verb="list"} 2"#), "{page}");
        assert!(page.contains("guard_agents 0"), "{page}");
        assert!(page.contains("text/plain; version=0.0.4"), "{page}");
    }

    #[tokio::test]
    async fn it_is_healthy_at_once_and_ready_when_told() {
        let ready = Readiness::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, server) = serve(any, Registry::new(), ready.clone()).await.unwrap();
        tokio::spawn(server);
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        ready.wait_for("a certificate");
        assert!(get(address, "/readyz").await.contains("not ready: a certificate"));
        ready.set(true);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics/x").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn a_socket_takes_the_place_of_one_that_was_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        tokio::spawn(serve_socket(&path, Registry::new(), Readiness::default()).unwrap());
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(serve_socket(&folder.path().join("a/b"), Registry::new(), Readiness::default()).is_err());
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = taken.local_addr().unwrap();
        let Err(error) = serve(address, Registry::new(), Readiness::default()).await else {
            panic!("two listeners on {address}")
        };
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
