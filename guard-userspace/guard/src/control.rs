//! `guard control`: signs the leaves of nodes, publishes whom to trust, serves admission where the cluster needs a webhook, and sums up the nodes.
//!
//! Two replicas; one leads. Nodes need nothing from it to enforce: they ask for a certificate, now and then.

mod custody;
mod fleet;
mod lease;
mod metrics;
pub(crate) mod names;
mod server_names;
mod signer;
mod webhook;

pub(crate) use webhook::settings;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use guard_certificates::Lifetimes;
use guard_telemetry::{Readiness, serve};
use kube::Client;
use rustls_pki_types::ServerName;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::node::certificates::Certificates;
use crate::node::cluster::Cluster;
use crate::node::config::Config;
use custody::Custody;
use fleet::Fleet;
use lease::Election;
use metrics::ControlMetrics;
use signer::Signer;
use webhook::Webhook;

/// Longest that a replica takes for its farewell.
const FAREWELL: Duration = Duration::from_secs(5);

/// Command line of `guard control`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to reach the API server; without it, as the pod that this runs in.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The guard's own namespace.
    #[arg(long, env = "POD_NAMESPACE", default_value = "egress-guard")]
    namespace: String,
    /// Unique among the replicas.
    #[arg(long, env = "POD_NAME")]
    identity: String,
    /// The ServiceAccount of `guard node` in that namespace: it alone is given leaves.
    #[arg(long, default_value = "egress-guard-node")]
    node_service_account: String,
    /// What the cluster can't tell by itself: the same file as the nodes'. `controlPlane.aliases` and `controlPlane.names` count here.
    #[arg(long)]
    config: Option<PathBuf>,
    /// A name that the API server's certificate has.
    #[arg(long, default_value = "kubernetes.default.svc")]
    upstream_name: String,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, default_value = "0.0.0.0:9465")]
    metrics_address: SocketAddr,
    /// How long an authority lives, in seconds. At half of it the next one is announced.
    #[arg(long, default_value_t = 2 * 365 * 24 * 3600)]
    authority_lifetime: u64,
    /// How long a node's leaf lives, in seconds. It is renewed at half of it.
    #[arg(long, default_value_t = 14 * 24 * 3600)]
    leaf_lifetime: u64,
    /// How long an authority is announced before it signs, in seconds.
    #[arg(long, default_value_t = 3600)]
    overlap: u64,
    #[command(flatten)]
    webhook: webhook::Args,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: Args) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(control(args))
}

async fn control(args: Args) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let lifetimes = lifetimes(&args)?;
    let config = Config::load(args.config.as_deref()).context("the configuration")?;
    let metrics = Arc::new(ControlMetrics::new()?);
    let readiness = Readiness::default();
    let (address, exporter) = serve(args.metrics_address, metrics.registry().clone(), readiness.clone()).await?;
    tracing::info!(%address, "metrics");
    let exporter = tokio::spawn(exporter);

    let cluster = Cluster::load(args.kubeconfig.as_deref()).await?;
    let client = cluster.client.clone();
    let replica = Replica {
        custody: Custody::new(client.clone(), &args.namespace, lifetimes),
        certificates: Certificates {
            roots: Arc::clone(&cluster.roots),
            server_name: ServerName::try_from(args.upstream_name.clone()).context("--upstream-name")?,
        },
        client,
        config,
        metrics,
        readiness: readiness.clone(),
    };
    let webhook = Webhook::load(&args.webhook, &args.namespace)?;
    let outcome = tokio::select! {
        ended = replica.run(&args, webhook) => ended,
        () = async { cluster.follow_roots().await; std::future::pending().await } => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    readiness.set(false);
    let farewell = Election::release(replica.client.clone(), &args.namespace, &args.identity);
    match tokio::time::timeout(FAREWELL, farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(
            error = format!("{error:#}"),
            "the lease is not given back; the next leader waits for its end"
        ),
        Err(_) => tracing::warn!("the lease is not given back in time; the next leader waits for its end"),
    }
    exporter.abort();
    outcome
}

/// One replica, leading or not.
struct Replica {
    client: Client,
    custody: Arc<Custody>,
    certificates: Certificates,
    config: Config,
    metrics: Arc<ControlMetrics>,
    readiness: Readiness,
}

impl Replica {
    async fn run(&self, args: &Args, webhook: Option<Webhook>) -> Result<()> {
        let (leads, leading) = watch::channel(false);
        let (names, known) = watch::channel(BTreeSet::new());
        let election = Election::new(self.client.clone(), &args.namespace, args.identity.clone());
        tokio::select! {
            () = election.run(&leads) => {}
            () = server_names::follow(self.client.clone(), self.config.control_plane.clone(), self.certificates.clone(), &names) => {}
            () = self.keep(leading.clone(), webhook.as_ref()) => {}
            () = self.lead(args, leading, &known) => {}
            ended = self.serve(webhook.as_ref()) => ended?,
        }
        Ok(())
    }

    /// The authorities: written by the leader, read by the others.
    async fn keep(&self, leading: watch::Receiver<bool>, webhook: Option<&Webhook>) {
        loop {
            let leads = *leading.borrow();
            self.metrics.leader.set(i64::from(leads));
            let done = if leads { self.custody.lead().await } else { self.custody.follow().await };
            if let Err(error) = done {
                tracing::error!(error = format!("{error:#}"), leads, "the authorities can't be kept; tried again");
            }
            if let Some(authorities) = self.custody.current.load_full() {
                self.metrics.authority_expiry.set(unix(authorities.not_after()));
                if let (true, Some(webhook)) = (leads, webhook)
                    && let Err(error) = webhook.publish(&self.client, &authorities.bundle()).await
                {
                    tracing::error!(error = format!("{error:#}"), "the webhook's CA can't be published; tried again");
                }
                // The Service sends reviews to whoever is ready: not to a webhook that can't shake hands yet.
                self.readiness.set(webhook.is_none_or(|webhook| webhook.renew(&self.custody)));
            }
            let mut leading = leading.clone();
            leading.mark_unchanged();
            tokio::select! {
                () = tokio::time::sleep(self.custody.interval()) => {}
                changed = leading.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn serve(&self, webhook: Option<&Webhook>) -> Result<()> {
        match webhook {
            Some(webhook) => webhook.serve(self.client.clone(), &self.custody, &self.metrics).await,
            None => std::future::pending().await,
        }
    }

    /// What one replica does at a time.
    async fn lead(
        &self,
        args: &Args,
        mut leading: watch::Receiver<bool>,
        names: &watch::Receiver<BTreeSet<guard_certificates::SanName>>,
    ) {
        while leading.wait_for(|leads| *leads).await.is_ok() {
            let signer = Signer {
                client: self.client.clone(),
                custody: Arc::clone(&self.custody),
                requester: format!("system:serviceaccount:{}:{}", args.namespace, args.node_service_account),
                names: names.clone(),
                metrics: Arc::clone(&self.metrics),
            };
            let fleet = Fleet {
                client: self.client.clone(),
                identity: args.identity.clone(),
                metrics: Arc::clone(&self.metrics),
            };
            tokio::select! {
                () = signer.run() => {}
                () = fleet.run() => {}
                _ = leading.wait_for(|leads| !*leads) => tracing::warn!("this replica does not lead any more"),
            }
            self.metrics.forget_nodes();
        }
    }
}

fn lifetimes(args: &Args) -> Result<Lifetimes> {
    let [authority, leaf, overlap] =
        [args.authority_lifetime, args.leaf_lifetime, args.overlap].map(Duration::from_secs);
    ensure!(!leaf.is_zero(), "--leaf-lifetime: a certificate that is never valid serves nobody");
    // The next authority has to be there, and every leaf of this one gone, before this one ends.
    ensure!(
        authority / 2 > leaf + overlap,
        "--authority-lifetime: half of it ({} s) must be more than --leaf-lifetime and --overlap together",
        authority.as_secs() / 2
    );
    Ok(Lifetimes { authority, leaf, overlap })
}

fn unix(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}
