//! `cargo xtask oracle`: how requests and expressions are understood, compared with Kubernetes' own code, for as long as one likes.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use xtask::build::{self, Profile};
use xtask::oracle;
use xtask::paths::Paths;
use xtask::progress::Progress;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Which of the two; without one, both
    which: Option<Which>,
    /// How many generated requests; a million by default
    #[arg(long)]
    count: Option<u64>,
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Expressions
    Cel,
    /// Requests
    Requestinfo,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    let wanted = |which| arguments.which.is_none_or(|only| only == which);
    if wanted(Which::Cel) {
        oracle::cel(paths, progress)?;
    }
    if wanted(Which::Requestinfo) {
        let guard = build::build(paths, Profile::Release, progress)?.join("guard");
        oracle::requestinfo(paths, &guard, arguments.count, progress)?;
    }
    Ok(ExitCode::SUCCESS)
}
