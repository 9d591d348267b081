//! Clients: hyper over TLS, with the protocol that a test asks for, and bare TLS for what hyper would never send.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, pki_types::ServerName};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{AGENT_TOKEN, H2, HTTP11, TestBody, empty};

/// How a client connects.
#[derive(Clone)]
pub(crate) struct ClientOptions {
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<&'static [u8]>,
    pub(crate) sni: bool,
}

impl ClientOptions {
    pub(crate) fn http2() -> Self {
        Self { versions: vec![&rustls::version::TLS13, &rustls::version::TLS12], alpn: vec![H2], sni: true }
    }

    pub(crate) fn http11() -> Self {
        Self { alpn: vec![HTTP11], ..Self::http2() }
    }

    /// The one for each protocol.
    pub(crate) fn each() -> [Self; 2] {
        [Self::http11(), Self::http2()]
    }
}

/// One connection of a client. Dropped, the connection is gone.
pub(crate) struct Client {
    sender: Sender,
    connection: tokio::task::JoinHandle<()>,
    tasks: Tasks,
}

/// What hyper spawns for an HTTP/2 connection; the socket is in there.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap().spawn(async move { drop(task.await) });
    }
}

enum Sender {
    Http1(http1::SendRequest<TestBody>),
    Http2(http2::SendRequest<TestBody>),
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, roots: &Arc<RootCertStore>, options: &ClientOptions) -> Self {
        let tls = raw_tls(address, roots, options).await.unwrap();
        let http2 = tls.get_ref().1.alpn_protocol() == Some(H2);
        let io = TokioIo::new(tls);
        let tasks = Tasks::default();
        if http2 {
            let (sender, connection) = http2::handshake(tasks.clone(), io).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            Self { sender: Sender::Http2(sender), connection, tasks }
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.with_upgrades().await) });
            Self { sender: Sender::Http1(sender), connection, tasks }
        }
    }

    /// Sends a request; in HTTP/1.1 waits for the last response's end.
    pub(crate) async fn send(&mut self, mut request: Request<TestBody>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                request.headers_mut().insert(header::HOST, "kubernetes.default.svc".parse().unwrap());
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                *request.uri_mut() = format!("https://kubernetes.default.svc{}", request.uri()).parse().unwrap();
                *request.version_mut() = Version::HTTP_2;
                sender.send_request(request).await
            }
        }
    }

    /// Another handle on the same HTTP/2 connection.
    pub(crate) fn share(&self) -> Option<http2::SendRequest<TestBody>> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(sender.clone()),
        }
    }

    /// Drops the connection where it stands.
    pub(crate) fn vanish(self) {
        self.connection.abort();
        self.tasks.0.lock().unwrap().abort_all();
    }

    /// Waits until the other side has closed the connection.
    pub(crate) async fn closed(self) {
        let _held = self.sender;
        let _ = self.connection.await;
    }
}

/// TLS to the proxy, and nothing else.
pub(crate) async fn raw_tls(
    address: SocketAddr,
    roots: &Arc<RootCertStore>,
    options: &ClientOptions,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&options.versions)
        .unwrap()
        .with_root_certificates(Arc::clone(roots))
        .with_no_client_auth();
    config.alpn_protocols = options.alpn.iter().map(|name| name.to_vec()).collect();
    config.enable_sni = options.sni;
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("kubernetes.default.svc").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// A request of the agent, with its token.
pub(crate) fn request(method: Method, target: &str, body: TestBody) -> Request<TestBody> {
    Request::builder()
        .method(method)
        .uri(target)
        .header(header::AUTHORIZATION, format!("Bearer {AGENT_TOKEN}"))
        .body(body)
        .unwrap()
}

pub(crate) fn get(target: &str) -> Request<TestBody> {
    request(Method::GET, target, empty())
}

/// The response's body as text.
pub(crate) async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Waits for the body's end: true if it is a clean one. HTTP/2 may carry it in an empty frame.
pub(crate) async fn ends_clean(body: &mut Incoming) -> bool {
    loop {
        match super::soon("the end", body.frame()).await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => assert!(frame.into_data().unwrap().is_empty(), "more data instead of the end"),
        }
    }
}
