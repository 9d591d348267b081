//! `cargo xtask e2e`: an area of end-to-end tests against a cluster of its own.

use std::fs;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use xtask::areas::{self, Part};
use xtask::build::{self, Profile};
use xtask::cluster::{self, Cluster, Name, UpOptions};
use xtask::counts::{Counts, sum_tests};
use xtask::images;
use xtask::paths::Paths;
use xtask::progress::{Progress, say};

/// More than any area may take, so that what hangs is ended and cleaned up after.
const LIMIT: Duration = Duration::from_mins(20);
/// Enough for what goes from node to node.
const NODES: usize = 2;

/// The areas that lose one.
const WITH_TWO_API_SERVERS: [&str; 1] = ["api_servers"];

#[derive(Args)]
pub(crate) struct Arguments {
    /// Which area; without one, the areas are listed
    area: Option<String>,
    /// Run against this cluster, which stays up, instead of a fresh one
    #[arg(long)]
    cluster: Option<Name>,
    /// Leave the fresh cluster up
    #[arg(long)]
    keep: bool,
    /// What goes to the test binary: a filter, `--nocapture`, …
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    let mut areas = areas::areas(paths)?;
    let slow = areas::slow_areas(paths)?;
    let Some(wanted) = &arguments.area else {
        say("Areas of end-to-end tests (cargo xtask e2e AREA):");
        areas::print(&areas);
        say("Those of `cargo xtask test --slow`:");
        areas::print(&slow);
        return Ok(ExitCode::SUCCESS);
    };
    areas.extend(slow);
    let Some(area) = areas.iter().find(|area| area.name == *wanted) else {
        let names: Vec<&str> = areas.iter().map(|area| area.name.as_str()).collect();
        bail!("no area is called {wanted:?}; there are: {}", names.join(", "));
    };
    // A name that is wrong is told before minutes are spent.
    let cluster = arguments.cluster.as_ref().map(|name| Cluster::load(name.as_str())).transpose()?;
    build::build(paths, Profile::Dev, progress)?;
    let run = Run { paths, progress, area, keep: arguments.keep, rest: &arguments.rest };
    let counts = match &cluster {
        Some(cluster) => run.against(cluster, &mut stdout())?,
        None => run.against_a_fresh_cluster(&mut stdout())?,
    };
    say(counts.line());
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One area, everything being built.
pub(crate) struct Run<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) progress: &'a Progress,
    pub(crate) area: &'a Part,
    pub(crate) keep: bool,
    pub(crate) rest: &'a [String],
}

impl Run<'_> {
    /// Brings a cluster up, runs the area, and takes the cluster down, however the tests end.
    pub(crate) fn against_a_fresh_cluster(&self, out: &mut impl Write) -> Result<Counts> {
        let passed = |counts: &Counts| counts.failed == 0;
        on_a_cluster(self.paths, self.progress, self.area, self.keep, |cluster| self.against(cluster, out), passed)
    }

    fn against(&self, cluster: &Cluster, out: &mut impl Write) -> Result<Counts> {
        images::refresh(self.paths, cluster, self.progress)?;
        let built = self.paths.target().join("debug");
        let mut cargo = build::cargo(self.paths);
        cargo.args(["test", "--quiet", "--package", "guard-e2e", "--test", &self.area.name, "--no-run"]);
        xtask::run::run(&mut cargo)?;
        let mut timed = std::process::Command::new("timeout");
        let cargo = build::cargo(self.paths);
        timed
            .args(["--kill-after=10", &LIMIT.as_secs().to_string()])
            .arg(cargo.get_program())
            .current_dir(&self.paths.root)
            .envs(cargo.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .args(["test", "--package", "guard-e2e", "--test", &self.area.name, "--"])
            .args(self.rest)
            .env("EGRESS_GUARD_CLUSTER", cluster.name.as_str())
            .env("EGRESS_GUARD_BINARY", built.join("guard"))
            // They wait more than they work: for what the kernel drops without a word.
            .env("RUST_TEST_THREADS", "4");
        let counts = sum_tests(&mut timed, out)?;
        if counts == Counts::default() && self.rest.is_empty() {
            bail!("area {} ran no test at all", self.area.name);
        }
        Ok(counts)
    }
}

/// Brings a cluster up, does `work`, and takes the cluster down, however that ends.
pub(crate) fn on_a_fresh_cluster(
    paths: &Paths,
    progress: &Progress,
    part: &Part,
    work: impl FnOnce(&Cluster) -> Result<()>,
) -> Result<()> {
    let work = |cluster: &Cluster| {
        images::refresh(paths, cluster, progress)?;
        work(cluster)
    };
    on_a_cluster(paths, progress, part, false, work, |()| true)
}

/// With `keep` the cluster stays up; where `work` did not go well, its logs stay.
fn on_a_cluster<T>(
    paths: &Paths,
    progress: &Progress,
    part: &Part,
    keep: bool,
    work: impl FnOnce(&Cluster) -> Result<T>,
    went_well: impl FnOnce(&T) -> bool,
) -> Result<T> {
    cluster::sweep(paths, progress)?;
    let name = fresh_name(&part.name)?;
    cluster::own(paths, &name)?;
    let api_servers = if WITH_TWO_API_SERVERS.contains(&part.name.as_str()) { 2 } else { 1 };
    let options = UpOptions { name: name.clone(), nodes: NODES, without: part.without.clone(), api_servers };
    let cluster = cluster::up(paths, &options, progress)?;
    let result = work(&cluster);
    let failed = !result.as_ref().is_ok_and(went_well);
    if keep {
        cluster::disown(paths, &name)?;
        progress.note(&format!("cluster {name} stays up: cargo xtask cluster down --name {name}"));
        return result;
    }
    if failed {
        keep_logs(paths, &cluster, progress);
    }
    // The work's own error comes first, but a cluster that can't be taken down is a failure too.
    let down = cluster::down(paths, &name).and_then(|()| cluster::disown(paths, &name));
    let done = result?;
    down.with_context(|| format!("after {}", part.name))?;
    Ok(done)
}

/// `e2e-`, a part of the area's name, a number that no cluster of another run has, and a letter that none of this run has.
fn fresh_name(area: &str) -> Result<Name> {
    static MADE: AtomicU8 = AtomicU8::new(0);
    let short: String = area.chars().filter(char::is_ascii_alphanumeric).take(4).collect();
    let letter = char::from(b'a' + MADE.fetch_add(1, Ordering::Relaxed) % 26);
    Name::new(format!("e2e-{}-{:04x}{letter}", short.to_lowercase(), std::process::id() % 0x1_0000))
}

/// After a failure the logs outlive the cluster.
fn keep_logs(paths: &Paths, cluster: &Cluster, progress: &Progress) {
    let target = paths.cache.join("logs").join(cluster.name.as_str());
    let mut folders = vec![cluster.dir.join("logs")];
    folders.extend(cluster.nodes.iter().map(|node| node.logs.clone()));
    let copied = folders.iter().try_for_each(|folder| -> std::io::Result<()> {
        let to = target.join(folder.strip_prefix(&cluster.dir).unwrap_or(folder));
        fs::create_dir_all(&to)?;
        fs::read_dir(folder)?.flatten().try_for_each(|file| fs::copy(file.path(), to.join(file.file_name())).map(drop))
    });
    let audit = fs::copy(&cluster.audit_log, target.join("audit.log"));
    match copied.and(audit) {
        Ok(_) => progress.note(&format!("the cluster's logs: {}", target.display())),
        Err(error) => {
            progress.note(&format!("the cluster's logs could not all be kept in {}: {error}", target.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_cluster_has_a_name_that_fits() {
        for area in ["main", "a-long_area name", "X"] {
            assert!(fresh_name(area).is_ok(), "{area}");
        }
    }
}
