//! `guard doctor`: what this machine and this cluster have and lack for the guard, before and after it is installed; each with its fix.
//!
//! On a node as root it looks at the node too: `kubectl exec` into the node guard's pod, or `kubectl debug node/…` before there is one. From a
//! workstation it looks at the cluster alone, with whatever kubeconfig `kubectl` would use.

mod admission;
mod agents;
mod cluster;
mod finding;
mod guards;
mod node;

use std::path::PathBuf;

use anyhow::{Result, bail};

use finding::{Finding, Status};

/// Command line of `guard doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One JSON document instead of lines for people.
    #[arg(long)]
    json: bool,
    /// Which half; without it, the cluster, and the node if this is root.
    #[arg(long)]
    only: Option<Half>,
    /// The guard's own namespace.
    #[arg(long, env = "POD_NAMESPACE", default_value = "egress-guard")]
    namespace: String,
    /// The kubelet's --root-dir.
    #[arg(long, env = "GUARD_KUBELET_ROOT", default_value = "/var/lib/kubelet")]
    kubelet_root: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Half {
    /// This machine.
    Node,
    /// What the API server shows.
    Cluster,
}

/// Prints what was found; an error if something has failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut findings = Vec::new();
    let root = nix::unistd::geteuid().is_root();
    if args.only == Some(Half::Node) || args.only.is_none() && root {
        findings.extend(node::look(&args.kubelet_root));
    } else if args.only.is_none() {
        findings.push(Finding::ok("node", "not looked at: that needs root on the node"));
    }
    if args.only != Some(Half::Node) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        findings.extend(runtime.block_on(cluster::look(&args.namespace)));
    }
    println!("{}", if args.json { finding::json(&findings) } else { finding::lines(&findings) });
    let failed = findings.iter().filter(|finding| finding.status == Status::Fail).count();
    if failed > 0 {
        bail!("{failed} of {} checks failed", findings.len());
    }
    Ok(())
}
