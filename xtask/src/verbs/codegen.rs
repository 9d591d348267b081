//! `cargo xtask codegen`: writes the files in the repository that come from code.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use xtask::build::cargo;
use xtask::paths::Paths;
use xtask::run::run as run_command;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if something would be written
    #[arg(long)]
    check: bool,
}

/// The generators are in the crate `guard-codegen`, whose tests look whether what is committed is current.
pub(crate) fn run(paths: &Paths, arguments: &Arguments) -> Result<ExitCode> {
    let mut cargo = cargo(paths);
    cargo.args(["run", "--quiet", "--package", "guard-codegen", "--", "--root"]).arg(&paths.root);
    if arguments.check {
        cargo.arg("--check");
    }
    run_command(&mut cargo)?;
    Ok(ExitCode::SUCCESS)
}
