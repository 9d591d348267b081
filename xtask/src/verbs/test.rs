//! `cargo xtask test`: everything that must hold before a change lands, and one closing count.

use std::io::{Write, stdout};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use super::e2e::Run;
use super::slow;
use xtask::areas::{self, Part};
use xtask::build::{self, Profile, cargo};
use xtask::counts::{Counts, run_tests};
use xtask::fuzz;
use xtask::oracle;
use xtask::paths::Paths;
use xtask::progress::{Progress, say, short};
use xtask::run::run as run_command;
use xtask::setup;

/// More and the tests' own time limits come near on two cores.
const AREAS_AT_ONCE: usize = 2;

#[derive(Args)]
pub(crate) struct Arguments {
    /// What takes longer as well: large volumes, other kernels
    #[arg(long)]
    slow: bool,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    setup::setup(paths, progress)?;
    let mut suite = Suite { progress, counts: Counts::default() };
    suite.check("format", || {
        // The kernel programs are a workspace of their own.
        let kernel_programs = paths.root.join("guard-ebpf/Cargo.toml");
        run_command(cargo(paths).args(["fmt", "--all", "--check"]))?;
        run_command(cargo(paths).args(["fmt", "--check", "--manifest-path"]).arg(kernel_programs))?;
        // So are the fuzz targets of each crate.
        fuzz::packages(paths)?.iter().try_for_each(|package| {
            run_command(cargo(paths).args(["fmt", "--check", "--manifest-path"]).arg(package.join("Cargo.toml")))
        })
    });
    suite.check("build", || build::build(paths, Profile::Dev, progress).map(drop));
    suite.check("clippy", || run_command(&mut clippy(paths)));
    suite.tests("unit and property tests", || {
        run_tests(cargo(paths).args(["test", "--workspace", "--exclude", "guard-e2e", "--no-fail-fast"]))
    });
    suite.tests("requests as Kubernetes' own code understands them", || {
        oracle::requestinfo(paths, &paths.target().join("debug/guard"), None, progress)
    });
    suite.tests("expressions as Kubernetes' own CEL evaluates them", || oracle::cel(paths, progress));
    let mut areas = areas::areas(paths)?;
    if arguments.slow {
        areas.extend(areas::slow_areas(paths)?);
    }
    suite.counts += all_areas(paths, progress, &areas);
    if arguments.slow {
        for slow in slow::TESTS {
            suite.tests(slow.name, || (slow.run)(paths, progress));
        }
    }
    say(suite.counts.line());
    Ok(if suite.counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A few at a time, each on its own cluster: they wait more than they work. What one says is printed in one piece.
fn all_areas(paths: &Paths, progress: &Progress, areas: &[Part]) -> Counts {
    let waiting = Mutex::new(areas.iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || {
        let mut suite = Suite { progress, counts: Counts::default() };
        while let Some(area) = next() {
            let start = Instant::now();
            let mut said = Vec::new();
            suite.tests(&format!("end to end: {}", area.name), || {
                Run { paths, progress, area, keep: false, rest: &[] }.against_a_fresh_cluster(&mut said)
            });
            let mut out = stdout().lock();
            // A closed pipe must not end the tests half-way.
            let _ = writeln!(out, "== {}: {}", area.name, short(start.elapsed())).and_then(|()| out.write_all(&said));
        }
        suite.counts
    };
    let mut counts = Counts::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AREAS_AT_ONCE).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            counts += worker.join().unwrap_or(Counts::ONE_FAILED);
        }
    });
    counts
}

fn clippy(paths: &Paths) -> Command {
    let mut cargo = cargo(paths);
    cargo.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    cargo
}

/// Goes on after a failure, and remembers it.
struct Suite<'a> {
    progress: &'a Progress,
    counts: Counts,
}

impl Suite<'_> {
    /// What has no count of its own: it counts when it fails.
    fn check(&mut self, what: &str, work: impl FnOnce() -> Result<()>) {
        self.progress.note(&format!("== {what}"));
        if let Err(error) = work() {
            self.progress.note(&format!("{what} failed: {error:#}"));
            self.counts += Counts::ONE_FAILED;
        }
    }

    fn tests(&mut self, what: &str, work: impl FnOnce() -> Result<Counts>) {
        self.progress.note(&format!("== {what}"));
        match work() {
            Ok(counts) => self.counts += counts,
            Err(error) => {
                self.progress.note(&format!("{what} failed: {error:#}"));
                self.counts += Counts::ONE_FAILED;
            }
        }
    }
}
