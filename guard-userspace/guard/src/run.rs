//! `guard run`: the same guard for one command and all that it starts.
//!
//! The pieces of a place to run in are `guard_run`'s; what guards it is what guards a pod.

mod cluster;
mod control_plane;
mod credentials;
mod door;
mod environment;
mod identity;
mod kubeconfig;
mod steps;
mod summary;
mod terminal;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guard_kernel::kernel::ListenerAddress;
use guard_kernel::listener::{self, Sysctls};
use guard_kernel::sockets::Diagnostics;
use guard_kernel::{Kernel, Options};
use guard_proxy::{Drain, Limits, Proxy, ProxyConfig, Timeouts};
use guard_run::{Child, FAILED, Place, Report, Setup, User};
use guard_telemetry::{Metrics, Tally};
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use cluster::Cluster;
use door::Door;
use identity::Identity;
use summary::Summary;
use terminal::{Heard, Signals, Terminal};

pub(crate) use steps::{AsArgs, CommandArgs, InitArgs, JanitorArgs, dispatch, misunderstood};

/// How long what the guard itself does at the end may take: then what hangs is left to the janitor.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Command line of `guard run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: the command's own, 128 and the number of the signal that ended it, 125 if the guard failed, 126 if the \
                  command can't be run, 127 if there is none."
)]
pub(crate) struct Args {
    /// GuardPolicy documents that say what is denied. Without it, all is denied that changes something, and reading Secrets.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The kubeconfig whose credential the guard uses. Default: KUBECONFIG, else the user's ~/.kube/config, else the pod's own account.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long)]
    context: Option<String>,
    /// The namespace that the command's kubeconfig names.
    #[arg(long)]
    namespace: Option<String>,
    /// As whom the command runs: NAME, UID or UID:GID. Default: who called sudo.
    #[arg(long)]
    user: Option<String>,
    /// A variable for the command: NAME=VALUE, or NAME for one that is taken from it otherwise.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    environment: Vec<OsString>,
    /// What the command doesn't see, beside the list in docs/run.md. `~/` is the user's home.
    #[arg(long, value_name = "PATH")]
    hide: Vec<PathBuf>,
    /// What the command may write for good, beside its working directory.
    #[arg(long, value_name = "PATH")]
    writable: Vec<PathBuf>,
    /// Keep the host's network. No boundary: whatever the host reaches, the command does.
    #[arg(long)]
    share_network: bool,
    /// Where the guard's own lines go, one JSON object for each exchange.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// A summary in Markdown, for CI.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Nothing of the guard's on standard error, but errors.
    #[arg(long)]
    quiet: bool,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// What serves while the command runs.
struct Serving {
    kernel: Option<Kernel>,
    metrics: Arc<Metrics>,
    /// Ends with this value: nothing is drained, the command is gone.
    _drain: Drain,
}

/// Runs the command; its exit code.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    // Before any thread: all of them are to leave signals to the one that listens.
    let signals = Signals::block()?;
    let terminal = Terminal::look();
    let user = User::find(args.user.as_deref())?;
    let tally = Tally::default();
    guard_telemetry::init_tally(args.log.as_deref().map(create).transpose()?, &tally)?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let directory = std::env::current_dir().context("the working directory")?;
    let kubeconfig = kubeconfig::find(args, &user)?;
    let environment = environment::of_command(&user, &args.environment);
    let place = Place::prepare(&args.command, &environment, args.share_network)?;
    if args.share_network && !args.quiet {
        eprintln!("guard: --share-network is no boundary: the command reaches whatever this machine reaches");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let hidden = hidden(args, &user, &kubeconfig);
    let (child, serving) = guard(args, &runtime, place, &user, kubeconfig, |kubeconfig, resolv_conf| Setup {
        user: user.clone(),
        writable: guard_run::writable(&directory, &user.home, &args.writable),
        directory,
        hidden,
        kubeconfig,
        resolv_conf,
    })?;
    let (code, child) = runtime.block_on(attend(child, signals, &terminal))?;
    terminal.take_back();
    let summary = Summary::new(args, code, &tally, serving.kernel.as_ref(), &serving.metrics);
    // What still runs is ended, and everything taken back, before anything is said.
    let ended = child.end();
    drop(serving);
    runtime.shutdown_timeout(LAST_WORDS);
    summary.tell(args)?;
    ended?;
    Ok(ExitCode::from(code))
}

/// Puts everything in place that guards, then has the command started.
fn guard(
    args: &Args,
    runtime: &Runtime,
    place: Place,
    user: &User,
    kubeconfig: kubeconfig::Found,
    setup: impl FnOnce(String, Option<String>) -> Setup,
) -> Result<(Child, Serving)> {
    // The API server answers while the kernel's verifier works.
    let connecting = runtime.spawn(Cluster::connect(kubeconfig, user.clone()));
    let kernel = place.network.as_ref().map(|_| enforce(&place)).transpose()?;
    let _in_runtime = runtime.enter();
    let cluster = runtime.block_on(connecting).context("the task that asks the API server")??;

    let (listeners, port) = door::listeners(&place)?;
    let server = match &place.network {
        Some(network) => std::net::SocketAddr::from((network.gateway, 443)),
        None => std::net::SocketAddr::from(([127, 0, 0, 1], port)),
    };
    let authority = guard_certificates::Authority::new_in_memory()?;
    let leaf = authority.issue_leaf(&cluster.names(server), Duration::from_hours(24 * 365))?;
    let metrics = Arc::new(Metrics::new()?);
    let identity = Arc::new(Identity::new(&place.run.id, &cluster.user));
    let proxy = Proxy::new(ProxyConfig {
        upstream: cluster.upstream.clone(),
        serving: leaf.resolver()?,
        verifier: Arc::clone(&identity) as _,
        policies: kubeconfig::policies(args.policy.as_deref())?,
        observer: Arc::clone(&identity) as _,
        gate: identity,
        metrics: Arc::clone(&metrics),
        limits: Limits::default(),
        timeouts: Timeouts::default(),
    })?;
    let (drain, draining) = Drain::new();
    let handle = proxy.handle(identity::workload(&place.run.id, place.cgroup())?, cluster.credentials.clone());
    let door = Door {
        proxy,
        handle,
        drain: draining,
        metrics: Arc::clone(&metrics),
        cgroup: place.cgroup().to_owned(),
        diagnostics: Diagnostics::open(&place.netns)?,
    };
    runtime.spawn(door.run(listeners));
    let kernel = match (kernel, &place.network) {
        (Some(mut kernel), Some(network)) => {
            kernel.set_control_plane(&control_plane::set(server, &cluster))?;
            let address = ListenerAddress { port, ipv6: network.addresses.len() > 1 };
            kernel.set_listener(identity::cgroup_id(place.cgroup())?, place.netns.cookie()?, address)?;
            Some(kernel)
        }
        _ => None,
    };
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").ok();
    if place.network.is_some() {
        for resolver in resolv_conf.as_deref().map(guard_run::dns::on_loopback).unwrap_or_default() {
            runtime.spawn(guard_run::dns::Relay::open(&place.netns, resolver)?.run());
        }
    }
    let text = cluster.kubeconfig(server, &authority.certificate_pem(), args.namespace.as_deref())?;
    let child = place.start(&setup(text, resolv_conf))?;
    Ok((child, Serving { kernel, metrics, _drain: drain }))
}

/// The kernel's programs on the command's cgroup and veth. Until the control-plane set is known there is no command.
fn enforce(place: &Place) -> Result<Kernel> {
    let options = Options {
        table: place.run.guard_table(),
        log_group: place.run.log_group(),
        ..Options::pinned_in(place.run.pins())
    };
    let mut kernel = Kernel::open(&options).context("setting up enforcement in the kernel")?;
    let workload = kernel.attach_pod(&place.run.id, place.cgroup())?;
    let network = place.network.as_ref().context("a network of the command's own")?;
    kernel.attach_veth(workload, network.interface, &network.addresses)?;
    Ok(kernel)
}

/// Passes signals on until the command has ended; its exit code.
async fn attend(mut child: Child, signals: Signals, terminal: &Terminal) -> Result<(u8, Child)> {
    let mut signals = signals.listen();
    loop {
        tokio::select! {
            report = child.reports.recv() => match report {
                Some(Report::Started) => {}
                Some(Report::Ended(code)) => return Ok((code, child)),
                Some(Report::Stopped) => terminal.stop_as_well()?,
                Some(Report::Failed(code, why)) => {
                    eprintln!("guard: {why}");
                    return Ok((code, child));
                }
                None => {
                    eprintln!("guard: the first process of the command's namespaces was killed, and all others with it");
                    return Ok((FAILED, child));
                }
            },
            heard = signals.next() => match heard? {
                Heard::ForAll => {}
                Heard::ForTheCommand(number) => child.signal(number),
                Heard::Continue => child.signal(Signal::SIGCONT as i32),
            },
        }
    }
}

fn hidden(args: &Args, user: &User, kubeconfig: &kubeconfig::Found) -> Vec<PathBuf> {
    let mut hidden = guard_run::hidden(&user.home, &args.hide);
    hidden.extend(kubeconfig.files());
    hidden.extend(guard_run::listening());
    hidden
}

fn create(path: &std::path::Path) -> Result<File> {
    File::create(path).with_context(|| format!("making {}", path.display()))
}

/// The port of a listener that nobody else has.
fn open_listeners(place: &Place) -> Result<listener::Listeners> {
    ensure!(place.network.is_some(), "a network of the command's own");
    Ok(listener::open(&place.netns, &Sysctls::default())?)
}
