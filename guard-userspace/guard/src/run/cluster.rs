//! The cluster of the caller's kubeconfig: where it is, who the caller is there, and what the command is told of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use arc_swap::ArcSwap;
use guard_certificates::SanName;
use guard_identity::Caller;
use guard_proxy::{Access, ForwardProxy, ProxyKind, Upstream};
use guard_run::User;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, PostParams};
use kube::client::ConfigExt as _;
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::sync::watch;

use super::credentials::{Credentials, chain};
use super::identity::NO_TOKEN;
use super::kubeconfig::Found;

/// How long the API server may take for its first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(15);
/// More than any cluster has API servers: who may write slices may write any number.
const MAX_ENDPOINTS: usize = 64;
/// What clients in a cluster know the API server by.
const USUAL_NAMES: [&str; 3] = ["kubernetes.default.svc", "kubernetes.default", "kubernetes"];

/// A cluster that has answered.
pub(super) struct Cluster {
    pub(super) upstream: Upstream,
    pub(super) credentials: Arc<Credentials>,
    pub(super) user: Caller,
    /// Where the API server is, as far as this machine can tell.
    pub(super) addresses: Vec<SocketAddr>,
    host: String,
    context: String,
    namespace: String,
}

impl Cluster {
    /// Reads what the kubeconfig says, and asks the API server who the caller is.
    pub(super) async fn connect(found: Found, user: User) -> Result<Self> {
        let (config, context) = load(found).await?;
        ensure!(
            !config.accept_invalid_certs,
            "the kubeconfig says insecure-skip-tls-verify; the guard never skips it: give the cluster's CA as certificate-authority-data"
        );
        ensure!(
            config.cluster_url.scheme_str() == Some("https"),
            "the kubeconfig's server is not https: {}",
            config.cluster_url
        );
        let host = config.cluster_url.host().context("the kubeconfig's server has no host")?.trim_matches(['[', ']']);
        let host = host.to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let own = resolve(&host, port).await;
        let (proxy, dialled) = match &config.proxy_url {
            Some(url) => proxy(url, &host, port).await.map(|(proxy, dialled)| (Some(proxy), dialled))?,
            None => (None, own.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?.clone()),
        };
        let name = config.tls_server_name.clone().unwrap_or_else(|| host.clone());
        let certificate = client_certificate(config.clone()).await?;
        let access = Access {
            client_certificate: certificate,
            path_prefix: config.cluster_url.path().trim_end_matches('/').to_owned(),
            proxy,
        };
        let (sender, receiver) = watch::channel(dialled);
        let upstream = Upstream {
            addresses: receiver,
            server_name: ServerName::try_from(name.clone())
                .with_context(|| format!("{name:?} is no name that a certificate can have"))?,
            roots: Arc::new(ArcSwap::from_pointee(roots(&config)?)),
            access,
        };
        let credentials = Arc::new(Credentials::new(&config).await?);
        let mut addresses = own.unwrap_or_default();
        let caller = if config.proxy_url.is_some() {
            unknown(&user)
        } else {
            tokio::spawn(follow(host.clone(), port, sender));
            let caller = who_am_i(&config, &user).await?;
            addresses.extend(endpoints(&config).await);
            caller
        };
        Ok(Self { upstream, credentials, user: caller, addresses, host, context, namespace: config.default_namespace })
    }

    /// Whom the guard's certificate is for.
    pub(super) fn names(&self, server: SocketAddr) -> Vec<SanName> {
        let usual = USUAL_NAMES.iter().map(|name| SanName::Dns((*name).to_owned()));
        let addresses = self.addresses.iter().map(|address| SanName::Ip(address.ip()));
        let mut names: Vec<_> =
            std::iter::once(SanName::Ip(server.ip())).chain(usual).chain(addresses).chain(self.host.parse()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What the command has as kubeconfig: the same context, in which the cluster is the guard and the user nobody.
    pub(super) fn kubeconfig(&self, server: SocketAddr, authority: &str, namespace: Option<&str>) -> Result<String> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let cluster = json!({
            "server": format!("https://{server}"),
            "certificate-authority-data": BASE64_STANDARD.encode(authority),
        });
        let context =
            json!({"cluster": "guarded", "user": "guarded", "namespace": namespace.unwrap_or(&self.namespace)});
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "guarded", "cluster": cluster}],
            // No credential: some clients ask for a password where there is nothing.
            "users": [{"name": "guarded", "user": {"token": NO_TOKEN}}],
            "contexts": [{"name": self.context, "context": context}],
            "current-context": self.context,
        });
        serde_json::to_string_pretty(&kubeconfig).context("the command's kubeconfig")
    }
}

async fn load(found: Found) -> Result<(Config, String)> {
    match found {
        Found::InCluster => Ok((Config::incluster().context("the pod's own account")?, "in-cluster".to_owned())),
        Found::Kubeconfig { config, context, .. } => {
            let name = context.clone().or_else(|| config.current_context.clone()).unwrap_or_default();
            let options = KubeConfigOptions { context, cluster: None, user: None };
            let config = Config::from_custom_kubeconfig(*config, &options)
                .await
                .with_context(|| format!("the context {name:?} of the kubeconfig can't be used"))?;
            Ok((config, name))
        }
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await;
    Ok(found.with_context(|| format!("resolving the kubeconfig's server {host}"))?.collect())
}

/// Load balancers change their addresses.
async fn follow(host: String, port: u16, addresses: watch::Sender<Vec<SocketAddr>>) {
    const AGAIN: Duration = Duration::from_secs(30);
    while !addresses.is_closed() {
        tokio::time::sleep(AGAIN).await;
        if let Ok(found) = resolve(&host, port).await
            && !found.is_empty()
        {
            addresses.send_if_modified(|before| std::mem::replace(before, found.clone()) != found);
        }
    }
}

async fn proxy(url: &http::Uri, host: &str, port: u16) -> Result<(ForwardProxy, Vec<SocketAddr>)> {
    let authority = url.authority().context("the kubeconfig's proxy-url has no host")?;
    let (kind, usual_port) = match url.scheme_str() {
        Some("http") => {
            let credentials =
                authority.as_str().rsplit_once('@').and_then(|(credentials, _)| credentials.split_once(':'));
            (ProxyKind::http(credentials).context("the credentials in the kubeconfig's proxy-url")?, 80)
        }
        Some("socks5" | "socks5h") => (ProxyKind::Socks5, 1080),
        scheme => {
            bail!("the kubeconfig's proxy-url is {}; the guard speaks http and socks5", scheme.unwrap_or("no URL"))
        }
    };
    let address = resolve(authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(usual_port)).await;
    let address = address.context("the kubeconfig's proxy-url")?;
    Ok((ForwardProxy { kind, host: host.to_owned(), port }, address))
}

async fn client_certificate(config: Config) -> Result<Option<Arc<dyn rustls::client::ResolvesClientCert>>> {
    // A plugin may give one, and may take its time.
    let made = tokio::task::spawn_blocking(move || config.rustls_client_config()).await;
    let tls = made.context("reading the kubeconfig's certificates")?;
    let tls = tls.map_err(|error| anyhow::anyhow!("the kubeconfig's client certificate or CA: {}", chain(&error)))?;
    Ok(tls.client_auth_cert_resolver.has_certs().then_some(tls.client_auth_cert_resolver))
}

fn roots(config: &Config) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match &config.root_cert {
        Some(certificates) => {
            for certificate in certificates {
                let added = roots.add(CertificateDer::from(certificate.clone()));
                added.context("a certificate of the kubeconfig's certificate-authority can't be used")?;
            }
        }
        // A public one.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    ensure!(!roots.is_empty(), "there is no CA to verify the API server with: give certificate-authority-data");
    Ok(roots)
}

/// Also shows whether the credential is good.
async fn who_am_i(config: &Config, user: &User) -> Result<Caller> {
    let mut config = config.clone();
    config.connect_timeout = Some(FIRST_ANSWER);
    config.read_timeout = Some(FIRST_ANSWER);
    config.default_retry = false;
    let server = config.cluster_url.clone();
    let reviews: Api<SelfSubjectReview> = Api::all(Client::try_from(config).context("the kubeconfig")?);
    match reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await {
        Ok(review) => {
            let info = review.status.and_then(|status| status.user_info).unwrap_or_default();
            Ok(Caller {
                username: info.username.unwrap_or_default(),
                groups: info.groups.unwrap_or_default(),
                uid: info.uid.unwrap_or_default(),
            })
        }
        Err(kube::Error::Api(status)) if status.code == 401 => bail!(
            "the API server {server} does not take the kubeconfig's credential; it may have expired: log in again, and try `kubectl auth whoami`"
        ),
        // An older API server, or one that lets nobody ask. The credential was taken.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(unknown(user)),
        Err(error) => bail!(
            "asking the API server {server} who the caller is: {}; is it up, and the way to it free?",
            chain(&error)
        ),
    }
}

/// What API servers say of themselves, where the caller may ask: they have other addresses than the one in the kubeconfig.
async fn endpoints(config: &Config) -> Vec<SocketAddr> {
    let mut config = config.clone();
    config.read_timeout = Some(FIRST_ANSWER);
    config.default_retry = false;
    let Ok(client) = Client::try_from(config) else { return Vec::new() };
    let slices: Api<EndpointSlice> = Api::namespaced(client, "default");
    let of_the_api_server = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    match slices.list(&of_the_api_server).await {
        Ok(slices) => slices.items.iter().flat_map(crate::node::control_plane::endpoints).take(MAX_ENDPOINTS).collect(),
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "the API server's own addresses are not known beside the kubeconfig's"
            );
            Vec::new()
        }
    }
}

/// By the account on this machine, where the API server has not said.
fn unknown(user: &User) -> Caller {
    Caller { username: user.name.clone(), groups: Vec::new(), uid: String::new() }
}
