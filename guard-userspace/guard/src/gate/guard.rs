//! The guard, as a client in this pod meets it at the API server's address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use guard_proxy::{GATE_PATH, GateProof};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::identity::Identity;

/// Connect and handshake, each. The guard is on this very machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The answer: the guard waits for its own packets at most 2 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A path of the guard's own where it has nothing to say: never forwarded.
const NOWHERE: &str = "/egressguard.io/v1";

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Finds the guard, or doesn't.
pub(super) struct Guard {
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Guard {
    /// The guard where the API server should be.
    pub(super) fn new(host: &str, port: u16, identity: &Identity) -> Result<Self> {
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).with_context(|| format!("{host} is no host name or address"))?;
        let config = ClientConfig::builder().with_root_certificates(identity.roots.clone()).with_no_client_auth();
        Ok(Self { host, port, name, connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Asks for proof. The guard answers this path itself; an API server knows it not.
    pub(super) async fn ask(&self, identity: &Identity) -> Result<GateProof> {
        let tls = self.reach().await?;
        let (status, body) = self.get(tls, identity, GATE_PATH).await?;
        ensure!(status == StatusCode::OK, "the guard gives no proof ({status}): {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).context("the answer is no proof: is the guard of this node of another version?")
    }

    /// What the API server says of itself, asked through the guard.
    pub(super) async fn version(&self, identity: &Identity) -> Result<String> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        let (status, body) = self.get(self.reach().await?, identity, "/version").await?;
        ensure!(status == StatusCode::OK, "GET /version ({status}): {}", String::from_utf8_lossy(&body));
        let version: Version = serde_json::from_slice(&body).context("the answer to GET /version")?;
        Ok(version.git_version)
    }

    /// A connection to where the API server should be, on which the guard has shown its certificate.
    async fn reach(&self) -> Result<TlsStream<TcpStream>> {
        let place = format!("{}:{}", self.host, self.port);
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let address = addresses.with_context(|| format!("resolving {place}"))?.next();
        let tcp = connect(address.with_context(|| format!("{place} has no address"))?)
            .await
            .with_context(|| format!("connecting to the Kubernetes API at {place}"))?;
        self.handshake(tcp).await.with_context(|| {
            format!("who answers at {place} is not the guard: its certificate is not of the CA in this pod's ca.crt, so connections are not redirected")
        })
    }

    /// It is the guard who answers on this connection.
    ///
    /// It is told who asks: to leave after the handshake without a word is what a client does that does not trust the guard.
    pub(super) async fn meet(&self, tcp: TcpStream, identity: &Identity) -> Result<()> {
        let tls = self.handshake(tcp).await?;
        self.get(tls, identity, NOWHERE).await.map(drop)
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>> {
        let handshake = self.connector.connect(self.name.clone(), tcp);
        let tls = tokio::time::timeout(CONNECT_TIMEOUT, handshake).await;
        Ok(tls.with_context(|| format!("no TLS handshake in {} s", CONNECT_TIMEOUT.as_secs()))??)
    }

    async fn get(&self, tls: TlsStream<TcpStream>, identity: &Identity, path: &str) -> Result<(StatusCode, Bytes)> {
        let answer = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.context("speaking HTTP")?;
            let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
            let mut bearer =
                HeaderValue::try_from(format!("Bearer {}", identity.token.as_str())).context("the token")?;
            bearer.set_sensitive(true);
            let request = Request::get(path)
                .header(header::HOST, &self.host)
                .header(header::AUTHORIZATION, bearer)
                .body(Empty::<Bytes>::new())
                .context("a request")?;
            let response = sender.send_request(request).await.context("asking the guard")?;
            let status = response.status();
            match Limited::new(response.into_body(), MAX_ANSWER).collect().await {
                Ok(body) => Ok((status, body.to_bytes())),
                Err(error) => bail!("reading the guard's answer: {error}"),
            }
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
        answer.with_context(|| format!("no answer in {} s", ANSWER_TIMEOUT.as_secs()))?
    }
}

/// A connection, in bounded time.
pub(super) async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await?
}
