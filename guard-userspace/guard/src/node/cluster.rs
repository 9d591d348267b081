//! The cluster as the node guard itself sees it: its client, the cluster's CA, the issuer of tokens and that issuer's keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use guard_identity::{KeySource, KeySourceError};
use http::Request;
use http_body_util::{BodyExt, Limited};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

/// Longest discovery document that is read, in bytes.
const MAX_DISCOVERY_LEN: usize = 64 * 1024;

/// Pause between two questions to an API server that does not answer.
const RETRY: Duration = Duration::from_secs(2);

/// How often a CA file is read again.
const CA_RELOAD: Duration = Duration::from_mins(1);

/// How long the API server may say nothing on a watch of the guard's own before it is asked anew.
const SILENCE: Duration = Duration::from_secs(90);

/// A cluster that the guard can talk to.
pub(crate) struct Cluster {
    /// The guard's own client, with the guard's own rights.
    pub(crate) client: Client,
    /// The cluster's CA.
    pub(crate) roots: Arc<ArcSwap<RootCertStore>>,
    root_file: Option<PathBuf>,
    server: http::Uri,
}

impl Cluster {
    /// From a kubeconfig, or from the pod that the guard itself runs in.
    pub(crate) async fn load(kubeconfig: Option<&Path>) -> Result<Self> {
        let mut config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("reading the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .with_context(|| format!("the kubeconfig {} can't be used", path.display()))?
            }
            None => Config::incluster()
                .context("no --kubeconfig was given, and this is no pod with a ServiceAccount token")?,
        };
        // A watch hears a bookmark about once a minute; kube's own patience is five minutes, for which late labels would go unseen.
        config.read_timeout = Some(SILENCE);
        ensure!(
            !config.accept_invalid_certs,
            "the kubeconfig says insecure-skip-tls-verify; the guard never skips it: give the CA"
        );
        let certificates = match &config.root_cert {
            Some(certificates) => certificates.iter().map(|der| CertificateDer::from(der.clone())).collect(),
            None => bail!(
                "the kubeconfig names no certificate-authority; the guard needs the cluster's CA to verify the API server"
            ),
        };
        let roots = Arc::new(ArcSwap::from_pointee(store(certificates).context("the cluster's CA")?));
        let (root_file, server) = (config.root_cert_file.clone(), config.cluster_url.clone());
        let client = Client::try_from(config).context("making a client of the kubeconfig")?;
        Ok(Self { client, roots, root_file, server })
    }

    /// The API server's addresses by the name that the kubeconfig has for it.
    pub(crate) async fn server_addresses(&self) -> Result<Vec<SocketAddr>> {
        let host = self.server.host().context("the kubeconfig's server has no host")?.trim_matches(['[', ']']);
        let port = self.server.port_u16().unwrap_or(443);
        let addresses = tokio::net::lookup_host((host, port)).await.with_context(|| format!("resolving {host}"))?;
        Ok(addresses.collect())
    }

    /// The issuer of ServiceAccount tokens. Waits for an API server that is away.
    pub(crate) async fn issuer(&self) -> String {
        let mut said = false;
        loop {
            match self.discover().await {
                Ok(issuer) => return issuer,
                Err(error) if !said => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "waiting for the API server; enforcement of an earlier run goes on"
                    );
                    said = true;
                }
                Err(error) => tracing::debug!(error = format!("{error:#}"), "still waiting for the API server"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn discover(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
        }
        let path = "/.well-known/openid-configuration";
        let text = get(&self.client, path, MAX_DISCOVERY_LEN).await?;
        let discovery: Discovery =
            serde_json::from_slice(&text).with_context(|| format!("{path} is no discovery document"))?;
        Ok(discovery.issuer)
    }

    /// Follows the CA file of a guard that runs as a pod. The last good one stays.
    pub(crate) async fn follow_roots(&self) {
        let Some(file) = &self.root_file else { return };
        loop {
            tokio::time::sleep(CA_RELOAD).await;
            let read = || -> Result<_> { store(CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?) };
            match read() {
                Ok(roots) => self.roots.store(Arc::new(roots)),
                Err(error) => {
                    tracing::warn!(file = %file.display(), error = format!("{error:#}"), "the cluster's CA can't be read; the last one stays");
                }
            }
        }
    }
}

/// The keys of the API server as an issuer, asked of the API server itself: the address that its discovery document names may not
/// be reachable from here.
pub(crate) struct ApiServerKeys(pub(crate) Client);

#[async_trait]
impl KeySource for ApiServerKeys {
    async fn fetch(&self, limit: usize) -> Result<Vec<u8>, KeySourceError> {
        let keys = get(&self.0, "/openid/v1/jwks", limit).await;
        keys.map_err(|error| KeySourceError(format!("{error:#}; may the guard's ServiceAccount get /openid/v1/jwks?")))
    }
}

async fn get(client: &Client, path: &str, limit: usize) -> Result<Vec<u8>> {
    let request = Request::get(path).body(kube::client::Body::empty()).context("a request")?;
    let response = client.send(request).await.with_context(|| format!("GET {path}"))?;
    ensure!(response.status().is_success(), "GET {path}: the API server answered {}", response.status());
    match Limited::new(response.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) => bail!("GET {path}: {error} (at most {limit} bytes are read)"),
    }
}

fn store(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).context("a certificate of the CA bundle can't be used")?;
    }
    ensure!(!roots.is_empty(), "the CA bundle holds no certificate");
    Ok(roots)
}
