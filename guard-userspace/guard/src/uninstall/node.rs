//! One node's part: the kernel's, and the folder that the guard keeps there.

use std::path::PathBuf;

use anyhow::{Context, Result};
use guard_telemetry::Readiness;
use tokio::signal::unix::{SignalKind, signal};

use crate::charge::{self, Charge};
use crate::health;
use crate::release::Place;

/// Command line of `guard uninstall node`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// The folder of the node that its guard has as --state-directory.
    #[arg(long, env = "GUARD_STATE_DIRECTORY", default_value = "/var/lib/egress-guard")]
    state_directory: PathBuf,
    /// A socket that answers `guard health`: ready means done.
    #[arg(long)]
    health_socket: PathBuf,
}

/// Ends enforcement, then waits for SIGTERM. A guard that still drains here changes nothing any more.
pub(super) async fn release(args: &Args) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let readiness = Readiness::default();
    let _health = health::serve(&args.health_socket, &readiness)?;
    let held = Charge::of_node(Some(&args.state_directory))?.release("uninstalled")?;
    let pods = args.place.release()?;
    drop(held);
    tracing::info!(pods, "nothing of the guard is left in this node's kernel");
    readiness.set(true);
    terminate.recv().await;
    // Not before the guards have gone: what is written there keeps those that still drain from beginning anew.
    charge::remove(&args.state_directory)?;
    Ok(())
}
