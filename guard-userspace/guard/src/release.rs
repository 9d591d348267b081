//! `guard release`: the way out. Enforcement outlives the node guard on purpose; this ends it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use guard_kernel::{Kernel, Options};

/// What to release.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Every agent pod of this node. There is no other choice yet, and none by accident.
    #[arg(long, required = true)]
    all: bool,
    /// Where the node guard pinned its programs.
    #[arg(long, default_value = "/sys/fs/bpf/egress-guard")]
    pin_directory: PathBuf,
    /// Name of the guard's nft table.
    #[arg(long, default_value = "egress_guard")]
    table: String,
}

/// Opens every agent pod of this node to the control plane.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.all, "say --all: this opens every agent pod of this node");
    let options = Options { table: args.table.clone(), ..Options::pinned_in(&args.pin_directory) };
    let kernel = Kernel::open(&options)
        .with_context(|| format!("taking over what is pinned in {}", args.pin_directory.display()))?;
    let pods = kernel.enrolled().count();
    kernel.uninstall().context("removing programs, maps and the nft table")?;
    println!("released; agent pods that are guarded no more: {pods}");
    Ok(())
}
