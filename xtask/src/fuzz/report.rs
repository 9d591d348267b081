//! What a run of a fuzz target shows, from what libFuzzer writes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

use super::session::Ended;
use crate::run::tail;

/// What libFuzzer ends with when it is interrupted, as it is at the end of its time (`FuzzerOptions.h`).
const INTERRUPTED: i32 = 72;

/// The figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The target.
    pub name: String,
    /// Inputs that were run.
    pub executions: u64,
    /// CPU time, in seconds.
    pub cpu_seconds: f64,
    /// Edges of the target's code, libraries included, that some input reaches.
    pub edges: u64,
    /// All edges there are.
    pub edges_total: u64,
    /// Edges told apart by how often one input takes them, and comparisons by how near they come (libFuzzer's `ft`).
    pub features: u64,
    /// Inputs in the corpus.
    pub corpus: u64,
    /// The input that failed, if one did.
    pub crash: Option<Crash>,
}

/// An input that made the target fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crash {
    /// The file that holds it.
    pub reproducer: PathBuf,
    /// The end of what the target said.
    pub said: String,
}

impl Report {
    pub(super) fn of(name: &str, ended: &Ended) -> Result<Self> {
        let crash = crash(&ended.log);
        let orderly = ended.status.success() || ended.status.code() == Some(INTERRUPTED);
        if crash.is_none() && !orderly {
            bail!("the fuzz target {name} ended with {} and kept no input:\n{}", ended.status, tail(&ended.log, 20));
        }
        Self::parse(name, &ended.log, ended.cpu, crash)
    }

    fn parse(name: &str, log: &str, cpu: Duration, crash: Option<Crash>) -> Result<Self> {
        let last = log.lines().rfind(|line| line.starts_with('#') && line.contains(" cov: "));
        let Some((last, edges_total)) = last.zip(log.lines().find_map(edges_total)) else {
            bail!("the fuzz target {name} told no coverage: is it instrumented?\n{}", tail(log, 20));
        };
        let executions = log.lines().find_map(|line| number_behind(line, "stat::number_of_executed_units:"));
        Ok(Self {
            name: name.to_owned(),
            executions: executions.or_else(|| number_behind(last, "#")).unwrap_or_default(),
            cpu_seconds: cpu.as_secs_f64(),
            edges: number_behind(last, " cov:").unwrap_or_default(),
            edges_total,
            features: number_behind(last, " ft:").unwrap_or_default(),
            corpus: number_behind(last, " corp:").unwrap_or_default(),
            crash,
        })
    }

    /// For people.
    pub fn line(&self) -> String {
        let Self { name, executions, cpu_seconds, edges, edges_total, features, corpus, .. } = self;
        format!(
            "{name}: {executions} executions in {cpu_seconds:.0} s of CPU time; {edges} of {edges_total} edges, {features} features, \
             {corpus} inputs in the corpus"
        )
    }
}

/// `INFO: Loaded 1 modules   (1505 inline 8-bit counters): 1505 […)`
fn edges_total(line: &str) -> Option<u64> {
    line.contains("inline 8-bit counters").then(|| number_behind(line, "("))?
}

fn crash(log: &str) -> Option<Crash> {
    let path = log.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path.trim()))?;
    Some(Crash { reproducer: path.into(), said: tail(log, 25) })
}

/// The number that follows the first `what`.
fn number_behind(line: &str, what: &str) -> Option<u64> {
    let (_, rest) = line.split_once(what)?;
    let rest = rest.trim_start();
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
INFO: Loaded 1 modules   (1505 inline 8-bit counters): 1505 [0x55f38b9bd1c8, 0x55f38b9bd7a9),
#2\tINITED cov: 181 ft: 181 corp: 1/24b exec/s: 0 rss: 27Mb
#1000\tNEW    cov: 225 ft: 265 corp: 10/228b lim: 24 exec/s: 0 rss: 27Mb L: 24/24 MS: 5 ChangeBinInt-
";

    #[test]
    fn the_figures_are_those_of_the_last_line_and_of_the_statistics() {
        let log = format!("{LOG}stat::number_of_executed_units: 1047227\n");
        let report = Report::parse("describe", &log, Duration::from_secs(9), None).unwrap();
        assert_eq!((report.executions, report.edges, report.edges_total), (1_047_227, 225, 1505));
        assert_eq!((report.features, report.corpus), (265, 10));
    }

    #[test]
    fn a_run_without_statistics_counts_to_its_last_line() {
        assert_eq!(Report::parse("describe", LOG, Duration::ZERO, None).unwrap().executions, 1000);
    }

    #[test]
    fn a_program_that_is_not_instrumented_is_no_result() {
        Report::parse("describe", "Done 10 runs\n", Duration::ZERO, None).unwrap_err();
    }

    #[test]
    fn a_crash_names_its_input() {
        let log =
            format!("{LOG}thread panicked\nartifact_prefix='/c/'; Test unit written to /c/crash-0a1b\nBase64: YQ==\n");
        let crash = crash(&log).unwrap();
        assert_eq!(crash.reproducer, PathBuf::from("/c/crash-0a1b"));
        assert!(crash.said.contains("thread panicked"));
        assert_eq!(super::crash(LOG), None);
    }
}
