//! `guard node`: everything that one node needs, put together.

pub(crate) mod certificates;
mod clients;
pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod control_plane;
mod door;
mod doors;
mod enforcement;
mod events;
mod exporter;
pub(crate) mod follow;
pub(crate) mod guard_node;
mod judge;
mod leaf;
mod metrics;
mod node_addresses;
mod observer;
mod policies;
mod proof;
mod registry;
mod reported;
mod reports;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use arc_swap::ArcSwap;
use guard_certificates::{Files, Reload, SanName, Serving};
use guard_identity::{PodUid, TokenVerifier, VerifierOptions};
use guard_kernel::kernel::Reports;
use guard_kernel::listener::Sysctls;
use guard_kernel::netns::Netns;
use guard_kernel::{Kernel, Options};
use guard_proxy::{Drain, DrainSignal, Proxy, ProxyConfig, Timeouts, Upstream};
use guard_telemetry::{Metrics, Readiness};
use guard_workload::{Agents, CgroupTree};
use rustls_pki_types::ServerName;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::control::settings;
use certificates::Certificates;
use clients::{Clients, Looking};
use cluster::{ApiServerKeys, Cluster};
use config::Config;
use door::Doors;
use enforcement::{NodeEnforcement, SharedKernel};
use events::{Events, Note};
use follow::{Current, Follower};
use guard_node::Telling;
use judge::ByRules;
use leaf::LeafKeeper;
use metrics::{Counts, Refusals};
use policies::Policies;
use proof::Prover;
use registry::Registry;
use reports::Reporter;

use crate::charge::{Charge, Release};
use crate::health;

/// How often the serving certificate's files are looked at.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);

/// How long it may take to open listeners for the pods of the guard before, once all are known.
const TAKING_OVER: Duration = Duration::from_secs(20);
/// How often readiness is looked at.
const READINESS_POLL: Duration = Duration::from_millis(250);

/// How long exec, port-forward and logs may go on where no other guard serves the node's agents meanwhile.
const ALONE: Duration = Duration::from_secs(5);

/// How long connections that have passed the drain's deadline may take to close.
const CLOSE: Duration = Duration::from_secs(2);

/// Command line of `guard node`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of this node's Node object.
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// How to reach the API server; without it, as the pod that the guard runs in.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The kubelet's root directory (its --root-dir).
    #[arg(long, default_value = "/var/lib/kubelet")]
    kubelet_root: PathBuf,
    /// The kubelet's --cgroup-root, below the cgroup2 mount point. Without it, it is looked for.
    #[arg(long)]
    cgroup_root: Option<PathBuf>,
    /// GuardPolicy documents that say what is denied. Without it, nothing is.
    #[arg(long)]
    deny_list: Option<PathBuf>,
    /// The certificate shown to agents, PEM: for the API server's names and addresses, by the CA that agent pods hold as ca.crt. Without it, the
    /// node asks `guard control` for one.
    #[arg(long, requires = "serving_key")]
    serving_certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, requires = "serving_certificate")]
    serving_key: Option<PathBuf>,
    /// Where a certificate that the node has asked for is kept with its key, for the next start. Root's alone.
    #[arg(long, default_value = "/var/lib/egress-guard/certificates")]
    certificate_directory: PathBuf,
    /// The settings of admission (the chart's admission.yaml). With them, the guard judges each agent pod by the same rules once more.
    #[arg(long)]
    admission: Option<PathBuf>,
    /// The guard's own namespace.
    #[arg(long, env = "POD_NAMESPACE", default_value = "egress-guard")]
    namespace: String,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, default_value = "127.0.0.1:9464")]
    metrics_address: SocketAddr,
    /// Where programs and maps are pinned, on a bpffs.
    #[arg(long, env = "GUARD_PIN_DIRECTORY", default_value = "/sys/fs/bpf/egress-guard")]
    pin_directory: PathBuf,
    /// Name of the guard's nft table.
    #[arg(long, env = "GUARD_TABLE", default_value = "egress_guard")]
    table: String,
    /// NFLOG group of its reports; one reader in a network namespace.
    #[arg(long)]
    log_group: Option<u16>,
    /// What the cluster can't tell by itself (aliases of the API server, mark, NAT64 prefix, limits of each pod), YAML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// A name that the API server's certificate has.
    #[arg(long, default_value = "kubernetes.default.svc")]
    upstream_name: String,
    /// How long exec, port-forward and logs may go on after a SIGTERM, in seconds. Five at most where no other guard has taken charge of the node.
    #[arg(long, default_value_t = 600)]
    drain_for: u64,
    /// A folder of the node's own, for root alone: who is in charge of the node. Two guards on one node need it, as in an upgrade.
    #[arg(long, env = "GUARD_STATE_DIRECTORY")]
    state_directory: Option<PathBuf>,
    /// Where the node's /proc/sys/net can be written; a container's own is read-only.
    #[arg(long, default_value = "/proc/sys/net")]
    sysctl_net: PathBuf,
    /// A socket that answers `guard health`, for the kubelet's probes.
    #[arg(long)]
    health_socket: Option<PathBuf>,
    /// Log each refusal of the kernel programs themselves, at debug level.
    #[arg(long)]
    log_programs: bool,
}

/// Guards the agent pods of this node until SIGTERM or SIGINT. Enforcement stays when it ends.
pub(crate) fn run(args: Args) -> Result<()> {
    // While there is one thread: a namespace of cgroups is each thread's own.
    guard_kernel::cgroup_namespace::enter_the_nodes()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(guard(args))
}

async fn guard(args: Args) -> Result<()> {
    // Before anything else: from here on a signal drains instead of killing.
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let (drain, draining) = Drain::new();
    let drain_for = Duration::from_secs(args.drain_for);

    let metrics = Arc::new(Metrics::new().context("making the metrics")?);
    let readiness = Readiness::default();
    let exporter = exporter::start(args.metrics_address, &metrics, &readiness).await?;
    let _health = args.health_socket.as_deref().map(|socket| health::serve(socket, &readiness)).transpose()?;

    let serving = TaskTracker::new();
    let charge = Charge::of_node(args.state_directory.as_deref())?;
    if let Some(release) = charge.released()? {
        let standing_by = stand_by(&args, &charge, &release);
        tokio::select! {
            done = standing_by => done?,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
    let node = Node::start(&args, &metrics, &serving, draining, charge.clone())?;
    let mut guarding = std::pin::pin!(node.run(&args, readiness.clone()));
    tokio::select! {
        ended = &mut guarding => ended?,
        release = charge.until_released() => {
            tracing::warn!(reason = release.reason, "this node was released; the guard ends, and the next one stands by");
            return Ok(());
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    readiness.set(false);
    exporter.abort();
    // The DaemonSet makes the next guard once this one is gone, and until then nobody listens: some streams against every agent's access.
    let drain_for = if charge.is_still_mine() { drain_for.min(ALONE) } else { drain_for };

    // `guarding` rests from here on, and is not dropped: it holds the doors, whose end cuts what they have accepted.
    tracing::info!(
        drain_for = drain_for.as_secs(),
        "draining; the kernel goes on refusing, with or without this process"
    );
    drain.start(drain_for);
    serving.close();
    tokio::select! {
        () = serving.wait() => {}
        () = tokio::time::sleep(drain_for + CLOSE) => {}
        _ = terminate.recv() => tracing::warn!("a second SIGTERM: what still runs is cut"),
        _ = interrupt.recv() => tracing::warn!("a second SIGINT: what still runs is cut"),
    }
    Ok(())
}

/// Waits until a release of this node is taken back. Says on the Node that agents are not guarded here, and when they are again.
async fn stand_by(args: &Args, charge: &Charge, release: &Release) -> Result<()> {
    tracing::warn!(reason = release.reason, since = %release.since, "this node was released: nothing is guarded until `guard release --undo`");
    let client = Cluster::load(args.kubeconfig.as_deref()).await?.client;
    events::of_node(&client, &args.node_name, Note::warning("GuardReleased", format!(
        "Agent pods on this node are not guarded: enforcement was ended at {} ({}). `guard release --undo` in the node guard's pod takes that back.",
        release.since, release.reason
    ))).await;
    charge.until_undone().await;
    tracing::info!("the release of this node was taken back");
    events::of_node(&client, &args.node_name, Note::normal("GuardBack", "Agent pods on this node are guarded again."))
        .await;
    Ok(())
}

/// The parts that are there before the API server is asked for anything.
struct Node {
    kernel: SharedKernel,
    reports: Reports,
    host: Arc<Netns>,
    cgroups: CgroupTree,
    config: Config,
    policies: Policies,
    certificate: Arc<Serving>,
    /// Where it comes from, if not from `guard control`.
    files: Option<Files>,
    judge: ByRules,
    enrolled: Vec<PodUid>,
    charge: Charge,
    metrics: Arc<Metrics>,
    serving: TaskTracker,
    draining: DrainSignal,
}

impl Node {
    /// Reads what was configured and takes over what an earlier run has pinned. Nothing here needs the cluster, so enforcement is this
    /// process's at once.
    fn start(
        args: &Args,
        metrics: &Arc<Metrics>,
        serving: &TaskTracker,
        draining: DrainSignal,
        charge: Charge,
    ) -> Result<Self> {
        let config = Config::load(args.config.as_deref()).context("the configuration")?;
        let policies = Policies::load(args.deny_list.as_deref())?;
        let files = match (&args.serving_certificate, &args.serving_key) {
            (Some(certificate), Some(key)) => Some(Files::load(certificate, key).context("the serving certificate")?),
            _ => None,
        };
        let certificate = files.as_ref().map_or_else(|| leaf::kept(&args.certificate_directory), Files::serving);
        let settings = args.admission.as_deref().map(settings).transpose().context("the settings of admission")?;
        let mount_point = guard_workload::mount_point()?;
        let cgroups = match &args.cgroup_root {
            Some(root) => mount_point.join(root.strip_prefix("/").unwrap_or(root)),
            None => mount_point,
        };
        // No pod would ever be found below the one, nor any token below the other.
        is_folder(&cgroups, "--cgroup-root: it is the kubelet's own --cgroup-root, and cgroup2 must be visible here")?;
        is_folder(
            &args.kubelet_root,
            "--kubelet-root: it is the kubelet's --root-dir, and must be mounted into a pod",
        )?;
        let cgroups = CgroupTree::new(cgroups);
        let host = Arc::new(Netns::current()?);
        // From here on the guard before this one changes nothing any more.
        let held = charge.take()?;
        let mut kernel = Kernel::open(&options(args, &config)?).context("setting up enforcement in the kernel")?;
        let enrolled = kernel.enrolled().filter_map(|pinned| pinned.pod.parse().ok()).collect();
        let reports = kernel.take_reports().context("the kernel's reports were taken before")?;
        drop(held);
        Ok(Self {
            kernel: SharedKernel::new(kernel),
            reports,
            host,
            cgroups,
            config,
            policies,
            certificate,
            files,
            judge: ByRules(settings),
            enrolled,
            charge,
            metrics: Arc::clone(metrics),
            serving: serving.clone(),
            draining,
        })
    }

    /// Serves until something fails for good.
    async fn run(self, args: &Args, readiness: Readiness) -> Result<()> {
        let cluster = Cluster::load(args.kubeconfig.as_deref()).await?;
        let issuer = cluster.issuer().await;
        tracing::info!(node = args.node_name, issuer, cgroups = %self.cgroups.root().display(), enrolled = self.enrolled.len(), "guarding");

        let (registry, expected, events) = (Arc::new(Registry::of(&self.enrolled)), Arc::default(), Events::default());
        let current = Arc::new(ArcSwap::from_pointee(Current::unknown()));
        let looking = self.looking(&registry, &current);
        let telling = self.telling(&cluster, &args.node_name, &looking, &readiness);
        let counts = self.counts(&registry);
        let refusals = Arc::new(Refusals::new(Arc::clone(&self.metrics)));
        let (upstream, addresses) = watch::channel(Vec::new());
        let (names, wanted) = watch::channel(BTreeSet::new());
        let prover = Prover {
            node: args.node_name.clone(),
            host: Arc::clone(&self.host),
            kernel: self.kernel.clone(),
            current: Arc::clone(&current),
            registry: Arc::clone(&registry),
            expected: Arc::clone(&expected),
            asked: Mutex::default(),
        };
        let keys = Arc::new(ApiServerKeys(cluster.client.clone()));
        let server_name = ServerName::try_from(args.upstream_name.clone()).context("--upstream-name")?;
        let proxy = Proxy::new(ProxyConfig {
            upstream: Upstream::direct(addresses, server_name.clone(), Arc::clone(&cluster.roots)),
            serving: Arc::clone(&self.certificate) as _,
            verifier: Arc::new(TokenVerifier::new(VerifierOptions::for_issuers(vec![issuer]), keys)),
            policies: Arc::clone(&self.policies.engine),
            observer: Arc::new(events.clone()),
            gate: Arc::new(prover),
            metrics: Arc::clone(&self.metrics),
            limits: self.config.limits.clone(),
            timeouts: Timeouts::default(),
        })?;
        let doors = Doors {
            proxy,
            kubelet_root: args.kubelet_root.clone(),
            drain: self.draining.clone(),
            events: events.clone(),
            metrics: Arc::clone(&self.metrics),
            registry: Arc::clone(&registry),
            serving: self.serving.clone(),
        };
        let enforcement = NodeEnforcement {
            kernel: self.kernel.clone(),
            current: Arc::clone(&current),
            registry: Arc::clone(&registry),
            refusals: Arc::clone(&refusals),
            doors: Arc::new(doors),
            draining: self.draining,
            charge: self.charge.clone(),
            sysctls: Sysctls::at(&args.sysctl_net),
            certificate: Arc::clone(&self.certificate),
        };
        let agents = Agents::new(
            self.cgroups,
            self.host,
            Arc::new(enforcement),
            Arc::new(events.clone()),
            Arc::new(self.judge),
            self.enrolled,
        )?;
        let follower = Follower {
            node: args.node_name.clone(),
            configured: self.config.control_plane,
            server: cluster.server_addresses().await?,
            certificates: Certificates { roots: Arc::clone(&cluster.roots), server_name },
            kernel: self.kernel.clone(),
            charge: self.charge,
            current,
            upstream,
            names,
        };
        let keeper = keeper(args, &cluster, &self.certificate, wanted);
        let reporter =
            Reporter { registry: Arc::clone(&registry), expected, events: events.clone(), metrics: self.metrics };
        let (closed, mut is_closed) = watch::channel(false);
        let synced = AtomicBool::new(false);
        let guard_pods = async {
            // A pod that is attached before the set is known would be attached to an open one.
            if is_closed.wait_for(|closed| *closed).await.is_err() {
                return;
            }
            agents.run(cluster.client.clone(), &args.node_name, || synced.store(true, Ordering::Release)).await;
        };
        tokio::select! {
            () = guard_pods => anyhow::bail!("the watch of this node's pods has ended"),
            () = follower.run(cluster.client.clone(), closed) => anyhow::bail!("the watch of the control plane has ended"),
            ended = reporter.run(self.reports) => ended.context("reading the kernel's reports")?,
            () = events.run(cluster.client.clone(), &args.node_name) => {}
            () = refusals.run(self.kernel.clone()) => {}
            () = follow_certificate(self.files.as_ref(), keeper) => {}
            () = follow_readiness(&readiness, &synced, &self.certificate, &registry) => {}
            () = counts.run() => {}
            () = never_ending(looking.run()) => {}
            () = telling.run() => {}
            () = never_ending(self.policies.follow()) => {}
            () = never_ending(cluster.follow_roots()) => {}
        }
        Ok(())
    }
}

impl Node {
    fn counts(&self, registry: &Arc<Registry>) -> Counts {
        Counts {
            registry: Arc::clone(registry),
            certificate: Arc::clone(&self.certificate),
            policies: Arc::clone(&self.policies.status),
            metrics: Arc::clone(&self.metrics),
        }
    }

    fn looking(&self, registry: &Arc<Registry>, current: &Arc<ArcSwap<Current>>) -> Looking {
        Looking {
            clients: Clients::default(),
            cgroups: self.cgroups.clone(),
            host: Arc::clone(&self.host),
            registry: Arc::clone(registry),
            current: Arc::clone(current),
        }
    }

    fn telling(&self, cluster: &Cluster, node: &str, looking: &Looking, readiness: &Readiness) -> Telling {
        Telling {
            client: cluster.client.clone(),
            node: node.to_owned(),
            host: Arc::clone(&self.host),
            serving: Arc::clone(&self.certificate),
            policies: Arc::clone(&self.policies.status),
            registry: Arc::clone(&looking.registry),
            clients: looking.clients.clone(),
            metrics: Arc::clone(&self.metrics),
            readiness: readiness.clone(),
            enforcement: if Kernel::missing_features().is_empty() { "tcx" } else { "clsact" },
        }
    }
}

fn keeper(
    args: &Args,
    cluster: &Cluster,
    serving: &Arc<Serving>,
    names: watch::Receiver<BTreeSet<SanName>>,
) -> LeafKeeper {
    LeafKeeper {
        client: cluster.client.clone(),
        namespace: args.namespace.clone(),
        node: args.node_name.clone(),
        serving: Arc::clone(serving),
        directory: args.certificate_directory.clone(),
        names,
    }
}

fn options(args: &Args, config: &Config) -> Result<Options> {
    let mut options = Options {
        table: args.table.clone(),
        log_programs: args.log_programs,
        ..Options::pinned_in(&args.pin_directory)
    };
    options.mark = config.mark()?.unwrap_or(options.mark);
    options.nat64_prefix = config.nat64_prefix().unwrap_or(options.nat64_prefix);
    options.log_group = args.log_group.unwrap_or(options.log_group);
    Ok(options)
}

fn is_folder(path: &Path, option: &str) -> Result<()> {
    ensure!(path.is_dir(), "{} is no directory; check {option}", path.display());
    Ok(())
}

/// From files, or by asking for it. The last good one stays where a new one can't be used.
async fn follow_certificate(files: Option<&Files>, keeper: LeafKeeper) {
    let Some(files) = files else { return keeper.run().await };
    loop {
        tokio::time::sleep(CERTIFICATE_POLL).await;
        match files.reload() {
            Ok(Reload::Unchanged) => {}
            Ok(Reload::Replaced) => tracing::info!("the serving certificate has changed"),
            Err(error) => tracing::error!(%error, "the new serving certificate is not used; the last good one stays"),
        }
    }
}

/// Ready is who knows the pods of the node, has a certificate to show to them, and listens for those of the guard before: that one is ended next. A pod
/// that can't be served, which may be for good, does not hold up the others for longer than [`TAKING_OVER`].
async fn follow_readiness(readiness: &Readiness, synced: &AtomicBool, certificate: &Serving, registry: &Registry) {
    let mut since = None;
    loop {
        if !certificate.is_valid(SystemTime::now()) {
            readiness.wait_for("a certificate of the guard's authority; does `guard control` run?");
        } else if !synced.load(Ordering::Acquire) {
            readiness.wait_for("the API server's list of this node's pods");
        } else if registry.left_to_take_over() > 0 && since.get_or_insert_with(Instant::now).elapsed() < TAKING_OVER {
            readiness.wait_for("listeners for the agents of the guard before");
        } else {
            readiness.set(true);
        }
        tokio::time::sleep(READINESS_POLL).await;
    }
}

/// Some have nothing to follow, which ends nothing.
async fn never_ending(work: impl Future<Output = ()>) {
    work.await;
    std::future::pending::<()>().await;
}
