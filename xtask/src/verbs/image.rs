//! `cargo xtask image`: the guard's own image, as it is shipped.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use xtask::build;
use xtask::images::shipped::{self, Architecture};
use xtask::paths::Paths;
use xtask::progress::{Progress, say};

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
    let shipped = shipped::ship(paths, arguments.arch, &output, progress)?;
    let size =
        fs::metadata(&shipped.archive).with_context(|| format!("looking at {}", shipped.archive.display()))?.len();
    say(format_args!("{} for {}", shipped.image, arguments.arch));
    say(format_args!("digest:            {}", shipped.digest));
    say(format_args!("OCI layout:        {} ({} MB)", shipped.archive.display(), size.div_ceil(1_000_000)));
    say(format_args!("bill of materials: {}", shipped.sbom.display()));
    Ok(ExitCode::SUCCESS)
}
