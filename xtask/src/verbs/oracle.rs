//! `cargo xtask oracle`: how requests and expressions are understood, compared with Kubernetes' own code, for as long as one likes.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use xtask::build::{self, Profile};
use xtask::oracle;
use xtask::paths::Paths;
use xtask::progress::Progress;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many generated requests; a million by default
    #[arg(long)]
    count: Option<u64>,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    let guard = build::build(paths, Profile::Release, progress)?.join("guard");
    oracle::cel(paths, progress)?;
    oracle::requestinfo(paths, &guard, arguments.count, progress)?;
    Ok(ExitCode::SUCCESS)
}
