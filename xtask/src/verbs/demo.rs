//! `cargo xtask demo`: the main job, shown step by step on a cluster of its own.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
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
    let options = UpOptions { name: name.clone(), nodes: 2, without: Vec::new(), api_servers: 1 };
    let cluster = cluster::up(paths, &options, progress)?;
    images::refresh(paths, &cluster, progress)?;
    let shown = show(paths, &cluster, arguments.keep);
    if arguments.keep {
        return shown.map(|()| ExitCode::SUCCESS);
    }
    let down = cluster::down(paths, &name);
    shown.and(down).map(|()| ExitCode::SUCCESS)
}

/// The steps are a program beside the tests: both stand on the same guards and pods.
fn show(paths: &Paths, cluster: &Cluster, keep: bool) -> Result<()> {
    let built = paths.target().join("debug");
    let mut demo = Command::new(built.join("demo"));
    demo.env("EGRESS_GUARD_CLUSTER", cluster.name.as_str()).env("EGRESS_GUARD_BINARY", built.join("guard"));
    demo.env("EGRESS_GUARD_CACHE", &paths.cache);
    if keep {
        demo.arg("--keep");
    }
    let status = demo.status().context("starting the demo's steps")?;
    ensure!(status.success(), "not everything was as it must be: see the steps above");
    Ok(())
}
