//! Egress Guard: one binary, several roles.

#![forbid(unsafe_code)]

mod charge;
mod control;
mod coverage;
mod describe;
mod doctor;
#[cfg(test)]
mod documentation;
mod gate;
mod health;
mod mask;
mod node;
mod prove;
mod release;
mod run;
mod uninstall;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// See its line in the workspace's manifest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Guards AI agents' access to the Kubernetes API.
#[derive(Debug, Parser)]
#[command(name = "guard", version)]
struct Cli {
    /// Write logs as one JSON object a line.
    #[arg(long, global = true, env = "GUARD_LOG_JSON")]
    log_json: bool,
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Guards one command and all that it starts, with your own kubeconfig: on a laptop, in a CI job. Needs root: `sudo guard run -- kubectl get pods`.
    Run(Box<run::Args>),
    /// The first process of the command's namespaces.
    #[command(hide = true)]
    RunInit(run::InitArgs),
    /// The step that becomes the command.
    #[command(hide = true)]
    RunCommand(run::CommandArgs),
    /// The step that becomes a program of the user's.
    #[command(hide = true)]
    RunAs(run::AsArgs),
    /// Tidies up after a run.
    #[command(hide = true)]
    RunJanitor(run::JanitorArgs),
    /// Guards the agent pods of this node. Runs on the node, as a pod with the node's network or as a service.
    Node(Box<node::Args>),
    /// Signs the nodes' certificates and publishes whom to trust; two replicas, one of which leads.
    Control(Box<control::Args>),
    /// Proves that this pod is guarded, as its first init container; fails and names the way that was open otherwise.
    Gate(gate::Args),
    /// Says how requests are understood: `METHOD URL` lines or whole HTTP requests in, JSON lines out.
    Describe(describe::Args),
    /// Hides secrets in standard input as the guard hides them from agents: try a detector on your own logs.
    Mask(mask::Args),
    /// Ends enforcement on this node, until it is taken back.
    Release(release::Args),
    /// Removes what outlives the guard on purpose. Run by `helm uninstall`.
    Uninstall(uninstall::Args),
    /// What this node and this cluster have and lack for the guard, each with its fix.
    Doctor(doctor::Args),
    /// Which pods are agents, which of them are guarded, and which others talk to the API server.
    Coverage(coverage::Args),
    /// Shows that enforcement works, on one node or on all. Run by `helm test`.
    Prove(prove::Args),
    /// Asks the guard in this container how it is, for the kubelet's probes.
    Health(health::Args),
}

fn main() -> ExitCode {
    // mimalloc asks for huge pages, which hold a third more memory than an idle guard needs. Without them it only takes more.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return run::misunderstood(&error),
    };
    let cli = match run::dispatch(cli.role) {
        Ok(code) => return code,
        Err(role) => Cli { role, ..cli },
    };
    let outcome = guard_telemetry::init_logging(cli.log_json).map_err(anyhow::Error::from).and_then(|()| {
        // The one provider of the workspace. A second call in one process would fail, and there is none.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        match cli.role {
            Role::Run(_) | Role::RunInit(_) | Role::RunCommand(_) | Role::RunAs(_) | Role::RunJanitor(_) => {
                unreachable!("dispatched above")
            }
            Role::Node(args) => node::run(*args),
            Role::Control(args) => control::run(*args),
            Role::Gate(args) => gate::run(&args),
            Role::Describe(args) => describe::run(&args),
            Role::Mask(args) => mask::run(&args),
            Role::Release(args) => release::run(&args),
            Role::Uninstall(args) => uninstall::run(&args),
            Role::Doctor(args) => doctor::run(&args),
            Role::Coverage(args) => coverage::run(&args),
            Role::Prove(args) => prove::run(&args),
            Role::Health(args) => health::run(&args),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guard: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes. Many of ours name their cause themselves: none is said twice.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        _ if text.contains(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn no_cause_is_said_twice() {
        let error = anyhow!("no such file").context("reading x: no such file; is it there?").context("the certificate");
        assert_eq!(super::sentence(&error), "the certificate: reading x: no such file; is it there?");
    }
}
