//! Comparisons with Kubernetes' own code: a Go program generates input, asks both sides, and reports each difference.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::counts::Counts;
use crate::golang;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::run::run;

/// Requests compared in each run of the tests.
const IN_EACH_RUN: u64 = 1_000_000;

/// Compares `guard describe` with Kubernetes' `RequestInfo`. `guard` is the binary to ask.
pub fn requestinfo(paths: &Paths, guard: &Path, count: Option<u64>, progress: &Progress) -> Result<Counts> {
    let program = golang::ensure_oracles(paths, progress)?.join("requestinfo");
    let count = count.unwrap_or(IN_EACH_RUN).to_string();
    run(Command::new(program).arg("-guard").arg(guard).args(["-n", &count]))?;
    Ok(Counts { passed: 1, failed: 0 })
}
