//! `cargo xtask image`: the container images, as OCI archives.

use std::process::ExitCode;

use anyhow::Result;

use xtask::build::{self, Profile};
use xtask::golang;
use xtask::images;
use xtask::paths::Paths;
use xtask::progress::{Progress, say};

pub(crate) fn run(paths: &Paths, progress: &Progress) -> Result<ExitCode> {
    build::build(paths, Profile::Dev, progress)?;
    let binaries = golang::ensure(paths, progress)?;
    for archive in images::ensure(paths, &binaries, progress)? {
        say(format_args!("{:40} {}", archive.image, archive.path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
