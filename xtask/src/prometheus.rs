//! A real Prometheus: Debian's package, unpacked into the cache and never installed, so that nothing of it starts by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::progress::Progress;
use crate::run::{capture, command};

/// Its folder in the cache. Delete it to get what Debian has now.
const FOLDER: &str = "prometheus";

/// The two programs of the package.
#[derive(Clone, Debug)]
pub struct Prometheus {
    /// The server.
    pub server: PathBuf,
    /// What checks rules and metrics.
    pub promtool: PathBuf,
}

impl Prometheus {
    /// Where `setup` puts them.
    pub fn of(paths: &Paths) -> Self {
        let programs = paths.cache.join(FOLDER).join("usr/bin");
        Self { server: programs.join("prometheus"), promtool: programs.join("promtool") }
    }

    fn is_there(&self) -> bool {
        self.server.exists() && self.promtool.exists()
    }
}

/// Sees to it that they are there.
pub fn ensure(paths: &Paths, progress: &Progress) -> Result<()> {
    if Prometheus::of(paths).is_there() {
        return Ok(());
    }
    progress.step("Debian's Prometheus", Duration::from_secs(10), || unpack(&paths.cache))
}

fn unpack(cache: &Path) -> Result<()> {
    let partial = cache.join(format!("{FOLDER}-{}", std::process::id()));
    fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
    let done = download(&partial).and_then(|unpacked| {
        let target = cache.join(FOLDER);
        // Half of it, from a run that was ended.
        fs::remove_dir_all(&target).ok();
        fs::rename(&unpacked, &target).with_context(|| format!("moving it to {}", target.display()))
    });
    fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    done
}

/// The package, unpacked below `folder`.
fn download(folder: &Path) -> Result<PathBuf> {
    let download = || {
        let mut apt = command("apt-get", ["-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]);
        capture(apt.args(["download", "prometheus"]).current_dir(folder)).map(drop)
    };
    download().or_else(|_| {
        // The lists are missing, or so old that the mirror has newer packages only.
        capture(command("apt-get", ["-qq", "update"]).arg("-o").arg("DPkg::Lock::Timeout=120"))
            .context("apt-get update")?;
        download().context("downloading Debian's package prometheus")
    })?;
    let files = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files = files.flatten().map(|file| file.path());
    let archive = files.find(|file| file.extension().is_some_and(|kind| kind == "deb"));
    let archive = archive.context("apt-get downloaded no archive of prometheus")?;
    let unpacked = folder.join("unpacked");
    capture(command("dpkg-deb", ["-x"]).arg(&archive).arg(&unpacked))
        .with_context(|| format!("unpacking {}", archive.display()))?;
    Ok(unpacked)
}
