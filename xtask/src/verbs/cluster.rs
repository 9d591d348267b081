//! `cargo xtask cluster`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use xtask::cluster::{self, Cluster, Feature, Name, UpOptions};
use xtask::paths::Paths;
use xtask::progress::{Progress, say};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Args)]
struct Which {
    /// Which cluster: several can stand side by side
    #[arg(long, default_value = "default", global = true)]
    name: Name,
}

#[derive(Subcommand)]
enum What {
    /// Bring it up, or find that it is
    Up {
        /// How many nodes (1 to 9)
        #[arg(long, default_value_t = 2)]
        nodes: usize,
        /// What its API server shall lack, as older ones do
        #[arg(long, value_delimiter = ',')]
        without: Vec<Feature>,
        /// How many API servers (1 or 2), on one etcd
        #[arg(long, default_value_t = 1)]
        api_servers: usize,
        #[command(flatten)]
        which: Which,
    },
    /// End it, and remove all that it left
    Down {
        #[command(flatten)]
        which: Which,
    },
    /// What runs, and where its log is
    Status,
    /// A shell on a node, with kubectl and ctr ready
    Shell {
        /// n1, n2, … or cp for the control plane
        #[arg(default_value = "n1")]
        machine: String,
        #[command(flatten)]
        which: Which,
    },
    /// The cluster's own kubectl, as administrator: all that follows is kubectl's
    Kubectl {
        #[command(flatten)]
        which: Which,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: Arguments) -> Result<ExitCode> {
    match arguments.what {
        What::Up { nodes, without, api_servers, which } => {
            let options = UpOptions { name: which.name, nodes, without, api_servers };
            let cluster = cluster::up(paths, &options, progress)?;
            say(format_args!("kubeconfig: {}", cluster.kubeconfig.display()));
            say(format_args!("audit log:  {}", cluster.audit_log.display()));
            say(format_args!("try:        cargo xtask cluster kubectl --name {} get nodes -o wide", cluster.name));
            Ok(ExitCode::SUCCESS)
        }
        What::Down { which } => {
            cluster::down(paths, &which.name)?;
            say(format_args!("cluster {} is down; nothing of it is left", which.name));
            Ok(ExitCode::SUCCESS)
        }
        What::Status => show(paths),
        What::Shell { machine, which } => shell(&Cluster::load(which.name.as_str())?, &machine),
        What::Kubectl { which, arguments } => passed_on(&mut Cluster::load(which.name.as_str())?.kubectl(arguments)),
    }
}

fn show(paths: &Paths) -> Result<ExitCode> {
    let names = cluster::names(paths)?;
    if names.is_empty() {
        say("no cluster; `cargo xtask cluster up` makes one");
    }
    let mut all_alive = true;
    for name in names {
        say(&name);
        for part in cluster::status(paths, &name) {
            all_alive &= part.alive;
            let state = if part.alive { "runs" } else { "HAS ENDED" };
            say(format_args!("  {:28} {:9} pid {:<8} {}", part.name, state, part.pid, part.log.display()));
        }
    }
    Ok(if all_alive { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shell(cluster: &Cluster, machine: &str) -> Result<ExitCode> {
    let node = cluster.nodes.iter().find(|node| node.name == machine);
    let mut command = match (node, machine) {
        (Some(node), _) => {
            let mut command = node.command("bash");
            command.env("CONTAINERD_ADDRESS", &node.containerd_socket).env("CONTAINERD_NAMESPACE", "k8s.io");
            command
        }
        (None, "cp") => xtask::netns::command_in(&cluster.control_plane_netns, "bash"),
        (None, other) => {
            bail!("{other:?} is no machine of cluster {}: cp, n1 to n{}", cluster.name, cluster.nodes.len())
        }
    };
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", cluster.binaries.display())).env("KUBECONFIG", &cluster.kubeconfig);
    passed_on(&mut command)
}

/// Runs with our terminal, and ends as it ends.
fn passed_on(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("starting {}", xtask::run::shown(command)))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
