//! `guard release`: the way out. Enforcement outlives the node guard on purpose; this ends it, until somebody takes that back.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use guard_kernel::{Kernel, Options};

use crate::charge::Charge;

/// What to release.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Why: it is written down on the node, logged, and told by an event on the Node.
    #[arg(long, required_unless_present = "undo")]
    reason: Option<String>,
    /// Take the release back: the node's guard enforces again.
    #[arg(long, conflicts_with = "reason")]
    undo: bool,
    #[command(flatten)]
    place: Place,
    /// The folder of the node that its guard has as --state-directory. Without it, a guard that runs here enrols its pods again at once.
    #[arg(long, env = "GUARD_STATE_DIRECTORY", default_value = "/var/lib/egress-guard")]
    state_directory: PathBuf,
}

/// Where a node guard keeps enforcement.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Where the node guard pinned its programs.
    #[arg(long, env = "GUARD_PIN_DIRECTORY", default_value = "/sys/fs/bpf/egress-guard")]
    pin_directory: PathBuf,
    /// Name of the guard's nft table.
    #[arg(long, env = "GUARD_TABLE", default_value = "egress_guard")]
    table: String,
}

/// Opens every agent pod of this node to the control plane, or closes them again.
pub(crate) fn run(args: &Args) -> Result<()> {
    let charge = Charge::of_node(Some(&args.state_directory))?;
    if args.undo {
        let Some(release) = charge.undo()? else { bail!("this node was not released") };
        println!("taken back: the release of {} ({}); the node's guard enforces again", release.since, release.reason);
        return Ok(());
    }
    let reason = args.reason.as_deref().unwrap_or_default().trim();
    ensure!(!reason.is_empty(), "--reason: say why, for those who find this node open");
    let _charge = charge.release(reason)?;
    let pods = args.place.release()?;
    tracing::warn!(reason, pods, "this node was released: its agent pods are not guarded until `guard release --undo`");
    println!("released; agent pods that are guarded no more: {pods}. `guard release --undo` takes this back");
    Ok(())
}

impl Place {
    /// Ends enforcement in the kernel and removes all that kept it; how many pods were enrolled. Hold charge of the node.
    pub(crate) fn release(&self) -> Result<usize> {
        let options = Options { table: self.table.clone(), ..Options::pinned_in(&self.pin_directory) };
        let kernel = Kernel::open(&options)
            .with_context(|| format!("taking over what is pinned in {}", self.pin_directory.display()))?;
        let pods = kernel.enrolled().count();
        kernel.uninstall().context("removing programs, maps and the nft table")?;
        Ok(pods)
    }
}
