//! Builds the kernel programs, then the workspace that carries them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::progress::Progress;
use crate::run::run;
use crate::tools::{EbpfToolchain, search_path};

/// Which of cargo's profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// What the tests run: optimised enough, quickly built.
    Dev,
    /// What is measured and shipped.
    Release,
}

/// Where the kernel programs' object goes: where `guard-kernel` looks for it.
pub fn ebpf_object(paths: &Paths) -> PathBuf {
    paths.target().join("guard-ebpf.o")
}

/// Builds the kernel programs, and the guard and the tests' own programs with them. Returns the folder they are in.
pub fn build(paths: &Paths, profile: Profile, progress: &Progress) -> Result<PathBuf> {
    build_ebpf(paths, progress)?;
    let mut cargo = cargo(paths);
    cargo.args(["build", "--workspace", "--bins", "--quiet"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    progress.step("the guard and the tests' programs", Duration::from_mins(1), || run(&mut cargo))?;
    Ok(paths.target().join(if profile == Profile::Release { "release" } else { "debug" }))
}

/// Builds the kernel programs with whatever toolchain is there.
pub fn build_ebpf(paths: &Paths, progress: &Progress) -> Result<PathBuf> {
    let toolchain = EbpfToolchain::find()?;
    let mut cargo = match &toolchain {
        EbpfToolchain::Debian { .. } => {
            let mut cargo = Command::new("/usr/bin/cargo");
            cargo.args(["build", "--release", "--target", "bpfel-unknown-none"]);
            // aya-ebpf uses unstable assembly for BPF.
            cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
            cargo
        }
        EbpfToolchain::Nightly { .. } => {
            let mut cargo = Command::new("rustup");
            cargo.args([
                "run",
                "nightly",
                "cargo",
                "build",
                "--release",
                "--target",
                "bpfel-unknown-none",
                "-Zbuild-std=core",
            ]);
            // `cargo xtask` runs under another toolchain, and says so in the environment.
            cargo.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
            cargo
        }
    };
    // The object is part of the image, which is the same wherever it is built.
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    for (folder, name) in remapped(paths, &paths.ebpf_target())? {
        flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
    }
    cargo
        .arg("--quiet")
        .current_dir(paths.root.join("guard-ebpf"))
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_TARGET_DIR", paths.ebpf_target())
        .env("PATH", search_path(paths))
        .env_remove("CARGO")
        .env_remove("RUSTC_WRAPPER");
    progress
        .step("kernel programs", Duration::from_secs(20), || run(&mut cargo).with_context(|| toolchain.describe()))?;
    let built = paths.ebpf_target().join("bpfel-unknown-none/release/guard-ebpf");
    let object = ebpf_object(paths);
    copy_if_new(&built, &object)?;
    Ok(object)
}

/// Cargo for this workspace, with the kernel programs' place in its environment.
pub fn cargo(paths: &Paths) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&paths.root)
        .env("CARGO_TARGET_DIR", paths.target())
        .env("GUARD_EBPF_OBJECT", ebpf_object(paths))
        .env("EGRESS_GUARD_CACHE", &paths.cache);
    cargo
}

/// Every folder of this machine that a compiler might write down, and what it writes instead.
pub(crate) fn remapped(paths: &Paths, target: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let root = fs::canonicalize(&paths.root).with_context(|| format!("looking for {}", paths.root.display()))?;
    // The last that fits counts, and a target folder may lie in the checkout.
    Ok(vec![
        (home.context("neither CARGO_HOME nor HOME is set")?, "/cargo"),
        (root, "/egress-guard"),
        (target.to_owned(), "/target"),
    ])
}

/// A file that does not change keeps its time, and cargo rebuilds nothing.
fn copy_if_new(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(to, content).with_context(|| format!("writing {}", to.display()))
}
