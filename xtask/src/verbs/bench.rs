//! `cargo xtask bench`: benchmarks are files in the crates' `benches` folders; those of the end-to-end tests get a cluster.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use xtask::areas::{self, Part};
use xtask::build::{self, Profile};
use xtask::cluster::Cluster;
use xtask::paths::Paths;
use xtask::progress::{Progress, say};
use xtask::run;

use super::e2e::on_a_fresh_cluster;

/// The package whose benchmarks need a cluster.
const END_TO_END: &str = "guard-e2e";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Which benchmark; without one, they are listed
    name: Option<String>,
    /// Write the figures there as well
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure the development build, which is there sooner: for ratios, not for figures
    #[arg(long)]
    dev: bool,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    let benches = benches(paths)?;
    let Some(name) = &arguments.name else {
        say("Benchmarks (cargo xtask bench NAME [--json FILE]):");
        areas::print(&benches.into_iter().map(|(_, part)| part).collect::<Vec<_>>());
        return Ok(ExitCode::SUCCESS);
    };
    let Some((package, part)) = benches.iter().find(|(_, part)| part.name == *name) else {
        bail!("no benchmark is called {name:?}: `cargo xtask bench` lists them");
    };
    let cargo = |profile: Profile| -> Result<Command> {
        let mut cargo = build::cargo(paths);
        cargo.arg("bench");
        if profile == Profile::Dev {
            cargo.args(["--profile", "dev"]);
        }
        cargo.args(["--package", package, "--bench", name, "--"]);
        if let Some(json) = &arguments.json {
            // cargo runs a benchmark in its package's folder.
            let file = std::path::absolute(json).with_context(|| format!("the place of {}", json.display()))?;
            cargo.arg("--json").arg(file);
        }
        Ok(cargo)
    };
    let profile = if arguments.dev { Profile::Dev } else { Profile::Release };
    if package != END_TO_END {
        build::build_ebpf(paths, progress)?;
        run::run(&mut cargo(profile)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // The images' programs are always these.
    let mut built = build::build(paths, Profile::Dev, progress)?;
    if profile == Profile::Release {
        built = build::build(paths, profile, progress)?;
    }
    let measure = |cluster: &Cluster| {
        let mut cargo = cargo(profile)?;
        cargo.env("EGRESS_GUARD_CLUSTER", cluster.name.as_str()).env("EGRESS_GUARD_BINARY", built.join("guard"));
        run::run(&mut cargo)
    };
    on_a_fresh_cluster(paths, progress, part, measure)?;
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
    let parts = areas::parts_in(&paths.root.join("tests/benches"))?;
    found.extend(parts.into_iter().map(|part| (END_TO_END.to_owned(), part)));
    found.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    Ok(found)
}
