//! `cargo xtask fuzz`: fuzz targets lie beside the crate that they fuzz.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use xtask::areas;
use xtask::paths::Paths;
use xtask::progress::say;

#[derive(Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(paths: &Paths, _: &Arguments) -> Result<ExitCode> {
    let crates = paths.root.join("guard-userspace");
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(&crates).with_context(|| format!("reading {}", crates.display()))?.flatten() {
        targets.extend(areas::parts_in(&entry.path().join("fuzz/fuzz_targets"))?);
    }
    if targets.is_empty() {
        eprintln!(
            "There is no fuzz target yet: the first comes with the policy engine, where the description of requests is \
             compared with Kubernetes' own. What is parsed today has property tests: `cargo xtask test`."
        );
        return Ok(ExitCode::FAILURE);
    }
    say("Fuzz targets (cargo fuzz run TARGET, in the crate's folder):");
    areas::print(&targets);
    Ok(ExitCode::SUCCESS)
}
