//! `cargo xtask image`: the guard's own image, as it is shipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use xtask::build;
use xtask::counts::Counts;
use xtask::images::shipped::{self, Architecture};
use xtask::paths::Paths;
use xtask::progress::{Progress, say};
use xtask::run::capture;

/// `EM_AARCH64` (elf.h).
const EM_AARCH64: u16 = 183;

#[derive(Args)]
pub(crate) struct Arguments {
    /// What it runs on: amd64, arm64
    #[arg(long, default_value = "amd64")]
    arch: Architecture,
    /// Where the OCI layout goes, a tar; without it, into the cache
    #[arg(long)]
    output: Option<PathBuf>,
}

pub(crate) fn run(paths: &Paths, progress: &Progress, arguments: &Arguments) -> Result<ExitCode> {
    build::build_ebpf(paths, progress)?;
    let output = if let Some(output) = &arguments.output {
        output.clone()
    } else {
        let folder = paths.images().join("shipped");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        folder.join(format!("egress-guard-{}.tar", arguments.arch))
    };
    let shipped = shipped::ship(paths, arguments.arch, &shipped::target(paths), &output, progress)?;
    let size =
        fs::metadata(&shipped.archive).with_context(|| format!("looking at {}", shipped.archive.display()))?.len();
    say(format_args!("{} for {}", shipped.image, arguments.arch));
    say(format_args!("digest:            {}", shipped.digest));
    say(format_args!("OCI layout:        {} ({} MB)", shipped.archive.display(), size.div_ceil(1_000_000)));
    say(format_args!("bill of materials: {}", shipped.sbom.display()));
    Ok(ExitCode::SUCCESS)
}

/// The slow test: two builds of one state of the sources, from two folders into two others, give one digest; and there is a program for arm64.
pub(crate) fn proven(paths: &Paths, progress: &Progress) -> Result<Counts> {
    build::build_ebpf(paths, progress)?;
    let folder = paths.images().join("proof");
    let outcome = prove(paths, &folder, progress);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    outcome
}

fn prove(paths: &Paths, folder: &Path, progress: &Progress) -> Result<Counts> {
    let mut digests = Vec::new();
    for name in ["one", "another-of-another-length"] {
        let place = folder.join(name);
        let copy = Paths { root: place.join("checkout"), cache: paths.cache.clone() };
        copy_sources(&paths.root, &copy.root)?;
        let archive = place.join("image.tar");
        digests.push(shipped::ship(&copy, Architecture::Amd64, &place.join("target"), &archive, progress)?.digest);
    }
    progress.note(&format!("digests of two builds: {}", digests.join(", ")));
    let program = shipped::compile(paths, Architecture::Arm64, &folder.join("arm64"))?;
    let machine = machine(&program)?;
    progress.note(&format!("machine of the program for arm64: {machine}"));
    let passed = [digests[0] == digests[1], machine == EM_AARCH64];
    let passed = passed.iter().map(|passed| u64::from(*passed)).sum();
    Ok(Counts { passed, failed: 2 - passed })
}

/// What git knows of the checkout, as it is now.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    let list = capture(Command::new("git").current_dir(from).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    for file in list.lines().filter(|file| from.join(file).is_file()) {
        let target = to.join(file);
        let parent = target.parent().context("a file lies in a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        fs::copy(from.join(file), &target).with_context(|| format!("copying {file}"))?;
    }
    Ok(())
}

/// `e_machine` of an ELF file (elf(5)).
fn machine(program: &Path) -> Result<u16> {
    let bytes = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    let field: [u8; 2] = bytes.get(18..20).and_then(|field| field.try_into().ok()).context("it is no program")?;
    Ok(u16::from_le_bytes(field))
}
