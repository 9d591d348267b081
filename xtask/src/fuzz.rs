//! Fuzz targets: where they are, how they are built, run and reported.
//!
//! A target is `guard-userspace/CRATE/fuzz/fuzz_targets/NAME.rs`, a program of a package that is no member of the workspace: it
//! is built with the fuzzer's instrumentation, by the workspace's own stable toolchain. Its committed corpus is
//! `fuzz/corpus/NAME`, small; what a machine finds on top of that grows in the cache.

mod report;
mod session;

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::areas;
use crate::build;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::run::run;

pub use self::report::{Crash, Report};
pub use self::session::Budget;

/// What libFuzzer learns from: counters at edges, their addresses, and the operands of comparisons. These passes of LLVM need no
/// unstable option.
const INSTRUMENTATION: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // With several, the linker drops parts of the table of addresses.
    "-Ccodegen-units=1",
];

/// One fuzz target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The file's name; no two crates share one.
    pub name: String,
    /// The first sentence of its documentation.
    pub about: String,
    /// The fuzz package's folder.
    package: PathBuf,
}

/// All targets, by name.
pub fn targets(paths: &Paths) -> Result<Vec<Target>> {
    let mut found = Vec::new();
    for package in packages(paths)? {
        for part in areas::parts_in(&package.join("fuzz_targets"))? {
            found.push(Target { name: part.name, about: part.about, package: package.clone() });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = found.windows(2).find(|pair| pair[0].name == pair[1].name) {
        bail!(
            "two fuzz targets are called {:?}: in {} and {}",
            twice[0].name,
            twice[0].package.display(),
            twice[1].package.display()
        );
    }
    Ok(found)
}

/// The folders of the fuzz packages, each a workspace of its own.
pub fn packages(paths: &Paths) -> Result<Vec<PathBuf>> {
    let crates = paths.root.join("guard-userspace");
    let entries = fs::read_dir(&crates).with_context(|| format!("reading {}", crates.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path().join("fuzz")).collect();
    found.retain(|package| package.join("Cargo.toml").exists());
    found.sort();
    Ok(found)
}

impl Target {
    /// Builds it. Returns the program.
    pub fn build(&self, paths: &Paths, progress: &Progress) -> Result<PathBuf> {
        let folder = paths.fuzz_target();
        // Named, so that build scripts and macros are not instrumented: cargo then keeps these flags from what runs while it builds.
        let platform = format!("{ARCH}-unknown-linux-gnu");
        let mut cargo = build::cargo(paths);
        cargo
            .args(["build", "--quiet", "--release", "--target", &platform, "--bin", &self.name])
            .current_dir(&self.package)
            .env("CARGO_TARGET_DIR", &folder)
            .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f"));
        progress.step(&format!("fuzz target {}", self.name), Duration::from_mins(1), || run(&mut cargo))?;
        Ok(folder.join(platform).join("release").join(&self.name))
    }

    /// The inputs that are kept in the repository.
    pub fn committed(&self) -> PathBuf {
        self.package.join("corpus").join(&self.name)
    }

    /// Words of the format, which mutation would take long to find (libFuzzer's `-dict`); need not exist.
    fn dictionary(&self) -> PathBuf {
        self.package.join(format!("{}.dict", self.name))
    }

    /// Where what this machine finds is kept.
    fn kept(&self, paths: &Paths) -> Result<Kept> {
        let folder = paths.cache.join("fuzz").join(&self.name);
        let kept = Kept { corpus: folder.join("corpus"), crashes: folder.join("crashes"), log: folder.join("log") };
        for folder in [&kept.corpus, &kept.crashes] {
            make(folder)?;
        }
        Ok(kept)
    }

    /// Fuzzes until the budget is used up, or an input fails.
    pub fn fuzz(&self, paths: &Paths, program: &Path, budget: Budget, progress: &Progress) -> Result<Report> {
        let kept = self.kept(paths)?;
        let committed = self.committed();
        make(&committed)?;
        let mut arguments = vec![kept.corpus.into_os_string(), committed.into_os_string()];
        let dictionary = self.dictionary();
        if dictionary.exists() {
            arguments.push(format!("-dict={}", dictionary.display()).into());
        }
        arguments.push(format!("-artifact_prefix={}/", kept.crashes.display()).into());
        let ended = session::run(&self.name, program, &arguments, &kept.log, budget, progress)?;
        Report::of(&self.name, &ended)
    }

    /// Runs one input, as a crash's report says. Its output passes through.
    pub fn replay(&self, program: &Path, input: &Path) -> Result<()> {
        run(std::process::Command::new(program).arg(input)).with_context(|| format!("replaying it in {}", self.name))
    }

    /// Replaces the committed corpus by the smallest set found that reaches as much as it and this machine's together.
    pub fn minimise(&self, paths: &Paths, program: &Path, progress: &Progress) -> Result<(usize, usize)> {
        let kept = self.kept(paths)?;
        let committed = self.committed();
        let before = inputs(&committed);
        let fresh = committed.with_extension("new");
        // Left by a run that was broken off.
        let _ = fs::remove_dir_all(&fresh);
        make(&fresh)?;
        let mut merge = std::process::Command::new(program);
        // By edges alone: how often each is taken makes a corpus ten times as large, which the cache's may be.
        merge.args(["-set_cover_merge=1", "-use_counters=0", "-use_cmp=0"]).args([&fresh, &committed, &kept.corpus]);
        let log = fs::File::create(&kept.log).with_context(|| format!("making {}", kept.log.display()))?;
        merge.stderr(log);
        progress.step(&format!("corpus of {}", self.name), Duration::from_mins(1), || {
            run(&mut merge).with_context(|| format!("merging the corpora; see {}", kept.log.display()))
        })?;
        if committed.exists() {
            fs::remove_dir_all(&committed).with_context(|| format!("removing {}", committed.display()))?;
        }
        fs::rename(&fresh, &committed).with_context(|| format!("putting the corpus into {}", committed.display()))?;
        Ok((before, inputs(&committed)))
    }
}

/// What a machine keeps of one target.
struct Kept {
    corpus: PathBuf,
    crashes: PathBuf,
    log: PathBuf,
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

fn inputs(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| entries.flatten().count())
}
