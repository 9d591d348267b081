//! `cargo xtask demo`: the main job, shown step by step on a cluster of its own.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use xtask::build::{self, Profile};
use xtask::cluster::{self, Cluster, Name, UpOptions};
use xtask::images;
use xtask::paths::Paths;
use xtask::progress::Progress;
use xtask::setup;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Leave the cluster up, and print how to play with it
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    setup::setup(paths, progress)?;
    build::build(paths, Profile::Dev, progress)?;
    let name = Name::new("demo")?;
    let cluster = cluster::up(paths, &UpOptions { name: name.clone(), nodes: 2 }, progress)?;
    images::refresh(paths, &cluster, progress)?;
    let shown = show(&cluster);
    if arguments.keep {
        return shown.map(|()| ExitCode::SUCCESS);
    }
    let down = cluster::down(paths, &name);
    shown.and(down).map(|()| ExitCode::SUCCESS)
}

/// The steps.
fn show(cluster: &Cluster) -> Result<()> {
    bail!("the demo's steps are not written yet; cluster {} came up as it should", cluster.name)
}
