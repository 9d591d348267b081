//! Comparisons with Kubernetes' own code: a Go program generates input, asks both sides, and reports each difference.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::build::cargo;
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

/// Compares the crate `guard-cel` with Kubernetes' own CEL environment: all expressions of Kubernetes' library tests, and ours.
pub fn cel(paths: &Paths, progress: &Progress) -> Result<Counts> {
    let program = golang::ensure_oracles(paths, progress)?.join("cel");
    let libraries = golang::module_folder(&paths.go("oracle"), "k8s.io/apiserver")?.join("pkg/cel/library");
    run(cargo(paths).args(["build", "--quiet", "-p", "guard-cel", "--example", "evaluate"]))?;
    let source = paths.root.join("guard-userspace/cel");
    let mut oracle = Command::new(program);
    oracle.arg("-evaluator").arg(paths.target().join("debug/examples/evaluate"));
    oracle.arg("-expressions").arg(source.join("tests/expressions.txt"));
    oracle.arg("-known").arg(source.join("tests/differences.txt"));
    oracle.arg("-object").arg(source.join("tests/object.json"));
    oracle.arg("-table").arg(source.join("src/check/functions.txt"));
    run(oracle.arg("-library").arg(libraries))?;
    Ok(Counts { passed: 1, failed: 0 })
}
