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
/// A node that has never seen the image fetches it in a moment.
const MOST_BYTES: u64 = 60_000_000;

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
    let files = shipped::files_in(&shipped.archive)?;
    say(format_args!("holds:             {}", files.into_keys().collect::<Vec<_>>().join(", ")));
    say(format_args!("bill of materials: {}", shipped.sbom.display()));
    Ok(ExitCode::SUCCESS)
}

/// The slow test: two builds of one state of the sources, from two folders into two others, give one digest; the image is small, and holds one
/// program alone; and there is a program for arm64.
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
    let (mut digests, mut sizes, mut runnable) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["one", "another-of-another-length"] {
        let place = folder.join(name);
        let copy = Paths { root: place.join("checkout"), cache: paths.cache.clone() };
        copy_sources(&paths.root, &copy.root)?;
        let archive = place.join("image.tar");
        digests.push(shipped::ship(&copy, Architecture::Amd64, &place.join("target"), &archive, progress)?.digest);
        sizes.push(fs::metadata(&archive).with_context(|| format!("looking at {}", archive.display()))?.len());
        let files = shipped::files_in(&archive)?;
        runnable.extend(files.into_iter().filter(|(_, mode)| mode & 0o111 != 0).map(|(name, _)| name));
        // Three builds are more than a disk may have room for.
        fs::remove_dir_all(&place).with_context(|| format!("removing {}", place.display()))?;
    }
    progress.note(&format!("digests of two builds: {}", digests.join(", ")));
    progress.note(&format!("bytes of the two: {sizes:?}; what can be run in them: {}", runnable.join(", ")));
    let program = shipped::compile(paths, Architecture::Arm64, &folder.join("arm64"))?;
    let machine = machine(&program)?;
    progress.note(&format!("machine of the program for arm64: {machine}"));
    let passed = [
        digests[0] == digests[1],
        sizes.iter().all(|size| *size < MOST_BYTES),
        runnable.len() == 2 && runnable.iter().all(|program| format!("/{program}") == shipped::PROGRAM),
        machine == EM_AARCH64,
    ];
    let failed = passed.iter().filter(|passed| !**passed).count() as u64;
    Ok(Counts { passed: passed.len() as u64 - failed, failed })
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
