//! `cargo xtask bench`: benchmarks are files in the crates' `benches` folders.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use xtask::areas::{self, Part};
use xtask::build;
use xtask::paths::Paths;
use xtask::progress::{Progress, say};
use xtask::run;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Which benchmark; without one, they are listed
    name: Option<String>,
    /// Write the figures there as well
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    let benches = benches(paths)?;
    let Some(name) = &arguments.name else {
        say("Benchmarks (cargo xtask bench NAME [--json FILE]):");
        areas::print(&benches.into_iter().map(|(_, part)| part).collect::<Vec<_>>());
        return Ok(ExitCode::SUCCESS);
    };
    let Some((package, _)) = benches.iter().find(|(_, part)| part.name == *name) else {
        bail!("no benchmark is called {name:?}: `cargo xtask bench` lists them");
    };
    build::build_ebpf(paths, progress)?;
    let mut cargo = build::cargo(paths);
    cargo.args(["bench", "--package", package, "--bench", name, "--"]);
    if let Some(json) = &arguments.json {
        // cargo runs a benchmark in its package's folder.
        let file = std::path::absolute(json).with_context(|| format!("the place of {}", json.display()))?;
        cargo.arg("--json").arg(file);
    }
    run::run(&mut cargo)?;
    Ok(ExitCode::SUCCESS)
}

/// Each benchmark with its package.
fn benches(paths: &Paths) -> Result<Vec<(String, Part)>> {
    let mut found = Vec::new();
    let crates = paths.root.join("guard-userspace");
    for entry in std::fs::read_dir(&crates).with_context(|| format!("reading {}", crates.display()))?.flatten() {
        let package = format!("guard-{}", entry.file_name().to_string_lossy());
        let parts = areas::parts_in(&entry.path().join("benches"))?;
        found.extend(parts.into_iter().map(|part| (package.clone(), part)));
    }
    found.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    Ok(found)
}
