//! `cargo xtask <verb>`: the one door to everything a person does with this repository.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use xtask::paths::Paths;
use xtask::progress::Progress;

mod verbs;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a developer runs in this repository", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// A real Kubernetes cluster on this machine: up, down, status, shell, kubectl
    Cluster(verbs::cluster::Arguments),
}

fn main() -> ExitCode {
    match work(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(arguments: Arguments) -> Result<ExitCode> {
    let paths = Paths::find()?;
    let progress = Progress::new(true);
    match arguments.verb {
        Verb::Cluster(arguments) => verbs::cluster::run(&paths, &progress, arguments),
    }
}
