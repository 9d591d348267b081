//! `cargo xtask codegen` in a program of its own: xtask itself needs none of the product's crates.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Writes the files that come from code.
#[derive(Debug, Parser)]
struct Arguments {
    /// The repository.
    #[arg(long)]
    root: PathBuf,
    /// Write nothing; fail if something would be written.
    #[arg(long)]
    check: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (files, code) = if arguments.check {
        let stale = guard_codegen::stale(&arguments.root)?;
        let code = if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        (stale, code)
    } else {
        (guard_codegen::write(&arguments.root)?, ExitCode::SUCCESS)
    };
    let state = if arguments.check { "not current" } else { "written" };
    for file in files {
        println!("{state}: {}", file.display());
    }
    Ok(code)
}
