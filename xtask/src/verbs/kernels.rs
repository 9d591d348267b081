//! `cargo xtask kernels`: what loads and attaches on other kernels, and what is missing there.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use xtask::build;
use xtask::counts::Counts;
use xtask::kernels::{self, Kernel, MATRIX};
use xtask::paths::Paths;
use xtask::progress::{Progress, say};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Which, such as 6.1; without one, all of the matrix
    versions: Vec<String>,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    let kernels = if arguments.versions.is_empty() { MATRIX.iter().collect() } else { chosen(&arguments.versions)? };
    build::build_ebpf(paths, progress)?;
    let counts = kernels::run(paths, progress, &kernels)?;
    say(counts.line());
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For the slow tests, which have built the kernel programs.
pub(crate) fn all(paths: &Paths, progress: &Progress) -> Result<Counts> {
    kernels::run(paths, progress, &MATRIX.iter().collect::<Vec<_>>())
}

fn chosen(versions: &[String]) -> Result<Vec<&'static Kernel>> {
    versions
        .iter()
        .map(|version| {
            MATRIX.iter().find(|kernel| kernel.version == *version).with_context(|| {
                let known: Vec<&str> = MATRIX.iter().map(|kernel| kernel.version).collect();
                format!("Linux {version} is not in the matrix: {}", known.join(", "))
            })
        })
        .collect()
}
