//! Admission as a webhook, where the cluster lacks the policies: `guard-admission`'s answers over TLS, by a leaf of the cluster's own authority.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use bytes::Bytes;
use guard_admission::{Place, Settings};
use guard_certificates::{KeyAndRequest, Request as SigningRequest, SanName, Serving};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::custody::Custody;
use super::lease::is_conflict;
use super::metrics::ControlMetrics;

/// Longest review, in bytes: an object before and after, of 3 MiB each at most.
const MAX_REVIEW: usize = 8 << 20;

/// Connections at the same time; the API servers need a handful.
const MAX_CONNECTIONS: usize = 64;

/// Longest handshake, and longest silence of a connection.
const HANDSHAKE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_mins(5);

/// Longest answer of the API server on a namespace. The webhook's own time is 10 s.
const NAMESPACE: Duration = Duration::from_secs(5);

/// How often is looked whether the webhook needs another leaf.
const CHECK: Duration = Duration::from_secs(5);

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The webhook's part of the command line.
#[derive(Debug, clap::Args)]
#[group(id = "webhook")]
pub(super) struct Args {
    /// The settings of admission (the chart's admission.yaml).
    #[arg(long)]
    admission: Option<PathBuf>,
    /// Where the webhook is served. Without it, there is none: admission is the API server's own, by policies.
    #[arg(long, requires = "admission")]
    webhook_address: Option<SocketAddr>,
    /// The Service that leads there, in the guard's namespace.
    #[arg(long, default_value = "egress-guard-control")]
    webhook_service: String,
    /// Name of the `MutatingWebhookConfiguration` and the `ValidatingWebhookConfiguration` that are told whom to trust.
    #[arg(long, default_value = "egress-guard")]
    webhook_configuration: String,
}

/// See the module.
pub(super) struct Webhook {
    address: SocketAddr,
    settings: Arc<Settings>,
    name: SanName,
    configuration: String,
    serving: Arc<Serving>,
}

/// What answers one review.
struct Reviewer {
    settings: Arc<Settings>,
    client: Client,
    custody: Arc<Custody>,
    metrics: Arc<ControlMetrics>,
}

impl Webhook {
    /// `None` if none is wanted.
    pub(super) fn load(args: &Args, namespace: &str) -> Result<Option<Self>> {
        let (Some(address), Some(file)) = (args.webhook_address, &args.admission) else { return Ok(None) };
        Ok(Some(Self {
            address,
            settings: Arc::new(settings(file)?),
            name: format!("{}.{namespace}.svc", args.webhook_service).parse().context("--webhook-service")?,
            configuration: args.webhook_configuration.clone(),
            serving: Arc::new(Serving::waiting()),
        }))
    }

    /// Tells the webhook configurations whom to trust. Those that are not there are not wanted.
    pub(super) async fn publish(&self, client: &Client, bundle: &str) -> Result<()> {
        let bundle = k8s_openapi::ByteString(bundle.as_bytes().to_vec());
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        if let Some(mut object) = mutating.get_opt(&self.configuration).await.context("reading the mutating webhook")? {
            let all = object.webhooks.iter_mut().flatten().map(|webhook| &mut webhook.client_config.ca_bundle);
            if replaced(all, &bundle) {
                written(mutating.replace(&self.configuration, &PostParams::default(), &object).await)?;
            }
        }
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        if let Some(mut object) =
            validating.get_opt(&self.configuration).await.context("reading the validating webhook")?
        {
            let all = object.webhooks.iter_mut().flatten().map(|webhook| &mut webhook.client_config.ca_bundle);
            if replaced(all, &bundle) {
                written(validating.replace(&self.configuration, &PostParams::default(), &object).await)?;
            }
        }
        Ok(())
    }

    /// Until dropped.
    pub(super) async fn serve(
        &self,
        client: Client,
        custody: &Arc<Custody>,
        metrics: &Arc<ControlMetrics>,
    ) -> Result<()> {
        let listener =
            TcpListener::bind(self.address).await.with_context(|| format!("listening on {}", self.address))?;
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::clone(&self.serving) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let reviewer = Arc::new(Reviewer {
            settings: Arc::clone(&self.settings),
            client,
            custody: Arc::clone(custody),
            metrics: Arc::clone(metrics),
        });
        tracing::info!(address = %self.address, name = %self.name, "webhook");
        tokio::select! {
            never = accept(listener, acceptor, reviewer) => match never {},
            () = self.keep_leaf(custody) => Ok(()),
        }
    }

    async fn keep_leaf(&self, custody: &Custody) {
        loop {
            self.renew(custody);
            tokio::time::sleep(CHECK).await;
        }
    }

    /// The webhook's own leaf, in memory alone: every replica has the authority to make it. Says whether there is one.
    pub(super) fn renew(&self, custody: &Custody) -> bool {
        if self.is_due()
            && let Some(authorities) = custody.current.load_full()
        {
            let names = BTreeSet::from([self.name.clone()]);
            let made = || -> Result<()> {
                let made = KeyAndRequest::new(&self.name.to_string(), &names)?;
                let request = SigningRequest::from_pem(made.request_pem.as_bytes())?;
                let chain = authorities.sign(&request, &custody.lifetimes)?;
                self.serving.replace(chain.as_bytes(), made.key_pem.as_bytes())?;
                Ok(())
            };
            if let Err(error) = made() {
                tracing::error!(error = format!("{error:#}"), "the webhook has no certificate");
            }
        }
        self.serving.validity().is_some()
    }

    fn is_due(&self) -> bool {
        self.serving.validity().is_none_or(|(from, until)| {
            let life = until.duration_since(from).unwrap_or_default();
            SystemTime::now() >= from + life / 2
        })
    }
}

/// Reads the settings of admission.
pub(crate) fn settings(file: &Path) -> Result<Settings> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("in {}", file.display()))
}

fn replaced<'a>(
    all: impl Iterator<Item = &'a mut Option<k8s_openapi::ByteString>>,
    bundle: &k8s_openapi::ByteString,
) -> bool {
    all.fold(false, |changed, current| {
        let differs = current.as_ref() != Some(bundle);
        *current = Some(bundle.clone());
        changed || differs
    })
}

/// Somebody else wrote it at the same time: the next look finds what it is then.
fn written<K>(result: kube::Result<K>) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if is_conflict(&error) => Ok(()),
        Err(error) => Err(error).context("writing the webhook configuration"),
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, reviewer: Arc<Reviewer>) -> Infallible {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((tcp, _)) => {
                let (acceptor, reviewer) = (acceptor.clone(), Arc::clone(&reviewer));
                tokio::spawn(async move {
                    serve_connection(tcp, acceptor, reviewer).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection to the webhook");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(tcp: TcpStream, acceptor: TlsAcceptor, reviewer: Arc<Reviewer>) {
    let tls = match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::debug!(%error, "a handshake with the webhook failed"),
        Err(_) => return,
    };
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let reviewer = Arc::clone(&reviewer);
        async move { Ok::<_, Infallible>(reviewer.respond(request).await) }
    });
    let io = TokioIo::new(tls);
    let ended = if http2 {
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.timer(TokioTimer::new()).keep_alive_interval(IDLE / 4).keep_alive_timeout(HANDSHAKE);
        server.max_concurrent_streams(32).serve_connection(io, service).await
    } else {
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(IDLE).serve_connection(io, service).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the webhook ended");
    }
}

impl Reviewer {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        // Read in any case: an answer before the body's end resets the stream, and some clients then take that for the answer.
        let body = tokio::time::timeout(HANDSHAKE, Limited::new(body, MAX_REVIEW).collect()).await;
        if head.method != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "reviews are posted\n");
        }
        let mutates = match head.uri.path() {
            "/admission/mutate" => true,
            "/admission/validate" => false,
            _ => return text(StatusCode::NOT_FOUND, "try /admission/mutate or /admission/validate\n"),
        };
        let review =
            body.ok().and_then(Result::ok).and_then(|body| serde_json::from_slice::<Value>(&body.to_bytes()).ok());
        let Some(review) = review.filter(|review| review["request"]["uid"].is_string()) else {
            self.count("malformed");
            return text(StatusCode::BAD_REQUEST, "this is no AdmissionReview\n");
        };
        match self.review(mutates, &review).await {
            Ok(answer) => {
                self.count(if answer["response"]["allowed"] == true { "allowed" } else { "refused" });
                let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
                let json = header::HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                response
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "a review can't be answered; the API server refuses the request"
                );
                self.count("failed");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the guard can't answer now; see its log\n")
            }
        }
    }

    async fn review(&self, mutates: bool, review: &Value) -> Result<Value> {
        let namespace = guard_admission::webhook::namespace(review).unwrap_or_default();
        let labels = self.labels(namespace).await?;
        let authorities = self.custody.current.load_full();
        let ca = authorities.as_ref().map(|authorities| authorities.bundle());
        let place = Place { namespace, namespace_labels: &labels, ca: ca.as_deref() };
        let answer = if mutates { guard_admission::webhook::mutate } else { guard_admission::webhook::validate };
        Ok(answer(&self.settings, &place, review))
    }

    /// As the API server has them now: a label that was put a moment ago counts.
    async fn labels(&self, namespace: &str) -> Result<BTreeMap<String, String>> {
        if namespace.is_empty() {
            return Ok(BTreeMap::new());
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let object = tokio::time::timeout(NAMESPACE, namespaces.get_metadata(namespace)).await;
        let object = object.context("no answer in time")?.with_context(|| format!("reading namespace {namespace}"))?;
        Ok(object.metadata.labels.unwrap_or_default())
    }

    fn count(&self, decision: &str) {
        self.metrics.admission_reviews_total.with_label_values(&[decision]).inc();
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response
}
