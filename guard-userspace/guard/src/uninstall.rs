//! `guard uninstall`: what `helm uninstall` runs, since much of the guard outlives its objects on purpose.
//!
//! `check` before anything is deleted: who would be left without an API server. `node` afterwards on each node: the kernel's part. `cluster` at
//! last: what `guard control` and the node guards made in the API while they ran.

mod agents;
mod cluster;
mod node;

use anyhow::{Context, Result};

/// Command line of `guard uninstall`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Names the agent pods that would be stranded; fails if there are any and nothing allows it.
    Check(agents::Args),
    /// Ends enforcement on this node for good, then stays and says so until it is told to go.
    Node(node::Args),
    /// Waits until every node has done that, then deletes what was made in the API.
    Cluster(cluster::Args),
}

/// Runs one part.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        match &args.part {
            Part::Check(args) => agents::check(args).await,
            Part::Node(args) => node::release(args).await,
            Part::Cluster(args) => cluster::clean(args).await,
        }
    })
}
