//! The server at the end, and the relay that knows no HTTP.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc, task};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::party::Party;

/// The name of every server here.
pub(crate) const NAME: &str = "kubernetes.default.svc";

/// What the server sends at a time, in bytes.
const PIECE: usize = 64 << 10;
/// Bytes of the small answer: as the API server's to `/version`.
const SMALL: usize = 250;
/// What the relay copies at a time, in bytes.
const COPY: usize = 64 << 10;

/// One certificate for all parties, and its CA.
pub(crate) struct Certified {
    pub(crate) server: ServerConfig,
    pub(crate) roots: Arc<RootCertStore>,
}

impl Certified {
    pub(crate) fn new() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca_certificate.der().clone()).unwrap();
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { server, roots: Arc::new(roots) }
    }

    pub(crate) fn client(&self, alpn: Option<&[u8]>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
        Arc::new(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A TLS server with HTTP/1.1 and HTTP/2: `/api/v1/BYTES` is that long, anything else short.
pub(crate) fn origin(tls: &Certified) -> Party {
    let acceptor = TlsAcceptor::from(Arc::new(tls.server.clone()));
    Party::start("origin", move || {
        move |tcp| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                let io = TokioIo::new(tls);
                if http2 {
                    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service_fn(answer)).await;
                } else {
                    let _ = http1::Builder::new().serve_connection(io, service_fn(answer)).await;
                }
            }
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Repeated>, Infallible> {
    let length = request.uri().path().rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(SMALL);
    Ok(Response::new(Repeated { piece: Bytes::from(vec![b'x'; PIECE.min(length)]), left: length }))
}

/// A body of the same piece again and again.
struct Repeated {
    piece: Bytes,
    left: usize,
}

impl Body for Repeated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return task::Poll::Ready(None);
        }
        let piece = self.piece.slice(..self.left.min(PIECE));
        self.left -= piece.len();
        task::Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}

/// Ends TLS, begins it again, and copies bytes between.
pub(crate) fn relay(tls: &Certified, to: SocketAddr) -> Party {
    let acceptor = TlsAcceptor::from(Arc::new(tls.server.clone()));
    let configurations = [tls.client(Some(b"h2")), tls.client(Some(b"http/1.1"))];
    Party::start("relay", move || {
        move |tcp| {
            let (acceptor, configurations) = (acceptor.clone(), configurations.clone());
            async move {
                let Ok(mut near) = acceptor.accept(tcp).await else { return };
                let http2 = near.get_ref().1.alpn_protocol() == Some(b"h2");
                let [h2, http11] = configurations;
                let connector = TlsConnector::from(if http2 { h2 } else { http11 });
                let far = TcpStream::connect(to).await.unwrap();
                far.set_nodelay(true).unwrap();
                let mut far = connector.connect(ServerName::try_from(NAME).unwrap(), far).await.unwrap();
                let _ = tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, COPY, COPY).await;
            }
        }
    })
}
