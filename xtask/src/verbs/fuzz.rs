//! `cargo xtask fuzz`: fuzz targets lie beside the crate that they fuzz.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use xtask::areas::{self, Part};
use xtask::fuzz::{self, Budget, Report, Target};
use xtask::paths::Paths;
use xtask::progress::{Progress, say};

/// When nothing else is said.
const SECONDS: u64 = 60;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Which target; `all` for each of them in turn; without one, they are listed
    target: Option<String>,
    /// CPU time of each target, in seconds; 60 if nothing is said
    #[arg(long, conflicts_with = "minutes")]
    seconds: Option<u64>,
    /// CPU time of each target, in minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Write the figures there as well
    #[arg(long)]
    json: Option<PathBuf>,
    /// Run this one input instead, such as one that failed
    #[arg(long, conflicts_with_all = ["seconds", "minutes", "json"])]
    input: Option<PathBuf>,
    /// Instead, put into the committed corpus what reaches most with least, from it and what this machine has found
    #[arg(long, conflicts_with_all = ["seconds", "minutes", "json", "input"])]
    minimise: bool,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    let targets = fuzz::targets(paths)?;
    let Some(wanted) = &arguments.target else {
        say("Fuzz targets (cargo xtask fuzz TARGET|all [--seconds N | --minutes N] [--json FILE]):");
        areas::print(
            &targets
                .into_iter()
                .map(|Target { name, about, .. }| Part { name, about, without: Vec::new() })
                .collect::<Vec<_>>(),
        );
        return Ok(ExitCode::SUCCESS);
    };
    let chosen: Vec<&Target> = targets.iter().filter(|target| wanted == "all" || target.name == *wanted).collect();
    if chosen.is_empty() {
        bail!("no fuzz target is called {wanted:?}: `cargo xtask fuzz` lists them");
    }
    if let Some(input) = &arguments.input {
        let [target] = chosen[..] else { bail!("--input goes to one target: name it") };
        target.replay(&target.build(paths, progress)?, input)?;
        say(format_args!("{}: {} does no harm", target.name, input.display()));
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.minimise {
        for target in chosen {
            let (before, after) = target.minimise(paths, &target.build(paths, progress)?, progress)?;
            say(format_args!(
                "{}: {before} inputs before, {after} now, in {}",
                target.name,
                target.committed().display()
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let seconds = arguments.seconds.or(arguments.minutes.map(|minutes| minutes * 60)).unwrap_or(SECONDS);
    fuzz_each(paths, progress, &chosen, Budget(Duration::from_secs(seconds)), arguments.json.as_deref())
}

fn fuzz_each(
    paths: &Paths,
    progress: &Progress,
    targets: &[&Target],
    budget: Budget,
    json: Option<&Path>,
) -> Result<ExitCode> {
    let mut reports = Vec::new();
    for target in targets {
        let program = target.build(paths, progress)?;
        let report = target.fuzz(paths, &program, budget, progress)?;
        say(report.line());
        if let Some(crash) = &report.crash {
            say(format_args!("{}\n{}: an input failed: {}", crash.said, target.name, crash.reproducer.display()));
            say(format_args!("again: cargo xtask fuzz {} --input {}", target.name, crash.reproducer.display()));
        }
        reports.push(report);
    }
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&reports).context("writing the figures as JSON")?;
        fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    let failed = reports.iter().any(|report: &Report| report.crash.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
