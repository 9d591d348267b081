//! What the guard says at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use guard_kernel::Kernel;
use guard_telemetry::{Metrics, Tally};

use super::Args;

/// Counts of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Summary {
    command: String,
    code: u8,
    requests: u64,
    denied: u64,
    /// By policy and rule.
    by_rule: BTreeMap<(String, String), u64>,
    /// By hook and reason.
    refused: BTreeMap<(String, String), u64>,
    /// Connections to the guard from outside the run.
    foreign: u64,
    log: Option<PathBuf>,
}

impl Summary {
    pub(super) fn new(args: &Args, code: u8, tally: &Tally, kernel: Option<&Kernel>, metrics: &Metrics) -> Self {
        let mut summary = Self {
            command: args.command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
            code,
            foreign: metrics.connections_total.with_label_values(&["foreign"]).get(),
            log: args.log.clone(),
            ..Self::default()
        };
        for (what, count) in tally.counts() {
            summary.requests += count;
            if what.decision == "deny" {
                summary.denied += count;
                *summary.by_rule.entry((what.policy, what.rule)).or_default() += count;
            }
        }
        for refusal in kernel.and_then(|kernel| kernel.refusals().ok()).into_iter().flatten() {
            let key = (refusal.hook.name().to_owned(), refusal.reason.name().to_owned());
            *summary.refused.entry(key).or_default() += refusal.count;
        }
        summary
    }

    /// On standard error, and where it was asked for.
    pub(super) fn tell(&self, args: &Args) -> Result<()> {
        if !args.quiet {
            eprint!("{}", self.lines());
        }
        match &args.summary {
            Some(file) => std::fs::write(file, self.markdown()).with_context(|| format!("writing {}", file.display())),
            None => Ok(()),
        }
    }

    fn lines(&self) -> String {
        let kernel: u64 = self.refused.values().sum();
        let mut text =
            format!("guard: {} requests, {} denied, {kernel} refused by the kernel", self.requests, self.denied);
        if self.foreign > 0 {
            let _ = write!(text, ", {} connections from outside the run refused", self.foreign);
        }
        for ((policy, rule), count) in &self.by_rule {
            let _ = write!(text, "\nguard:   {count} denied by rule {rule:?} of {policy}");
        }
        for ((hook, reason), count) in &self.refused {
            let _ = write!(text, "\nguard:   {count} refused at {hook}: {reason}");
        }
        if let Some(log) = &self.log {
            let _ = write!(text, "\nguard: every exchange is in {}", log.display());
        }
        text + "\n"
    }

    fn markdown(&self) -> String {
        let kernel: u64 = self.refused.values().sum();
        let mut text = format!(
            "## Egress Guard\n\n`{}` ended with {}.\n\n| | |\n|---|---:|\n| requests | {} |\n| denied | {} |\n| refused by the kernel | {kernel} |\n\
             | connections from outside the run refused | {} |\n",
            self.command.replace('`', "'"),
            self.code,
            self.requests,
            self.denied,
            self.foreign
        );
        for ((policy, rule), count) in &self.by_rule {
            let _ = writeln!(text, "| denied by `{rule}` of `{policy}` | {count} |");
        }
        for ((hook, reason), count) in &self.refused {
            let _ = writeln!(text, "| refused at `{hook}`: {reason} | {count} |");
        }
        if let Some(log) = &self.log {
            let _ = writeln!(text, "\nEvery exchange is in `{}`.", log.display());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_ci_see_the_same_counts() {
        let summary = Summary {
            command: "kubectl".into(),
            code: 1,
            requests: 12,
            denied: 3,
            by_rule: [(("baseline".into(), "no-secrets".into()), 3)].into(),
            refused: [(("connect4".into(), "port".into()), 2)].into(),
            foreign: 1,
            log: None,
        };
        let lines = summary.lines();
        assert!(lines.starts_with("guard: 12 requests, 3 denied, 2 refused by the kernel, 1 connections"), "{lines}");
        assert!(lines.contains("3 denied by rule \"no-secrets\" of baseline\n"), "{lines}");
        let markdown = summary.markdown();
        assert!(markdown.contains("| requests | 12 |") && markdown.contains("`connect4`: port | 2 |"), "{markdown}");
    }
}
