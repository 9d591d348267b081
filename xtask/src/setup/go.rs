//! Go from the Go module proxy: Debian 12's is too old for today's Kubernetes. It is the toolchain that `go` itself would fetch.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::hash;
use crate::paths::Paths;
use crate::run::capture;
use crate::tools;

/// One release for one machine, pinned by the SHA-256 of its archive.
struct Release {
    version: &'static str,
    sha256: &'static str,
}

/// For `x86_64`.
const AMD64: Release = Release {
    version: "v0.0.1-go1.26.8.linux-amd64",
    sha256: "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
};

/// Fetches, checks and unpacks it into the cache.
pub(super) fn fetch(paths: &Paths) -> Result<()> {
    let release = match std::env::consts::ARCH {
        "x86_64" => &AMD64,
        other => bail!("no Go is pinned for {other}: install Go {} or newer by hand", tools::GO_AT_LEAST),
    };
    let target = tools::fetched_go(paths);
    let folder = target.with_extension("fetching");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let archive = folder.join("go.zip");
    let url = format!("https://proxy.golang.org/golang.org/toolchain/@v/{}.zip", release.version);
    capture(
        Command::new("curl")
            .args(["--fail", "--silent", "--show-error", "--max-time", "600", "--retry", "3", "--output"])
            .arg(&archive)
            .arg(&url),
    )
    .context("fetching Go")?;
    let found = hash::of_file(&archive)?;
    if found != release.sha256 {
        bail!("{url} has the SHA-256 {found}, not {}: not used", release.sha256);
    }
    capture(Command::new("unzip").arg("-q").arg("-o").arg(&archive).arg("-d").arg(&folder)).context("unpacking Go")?;
    let root = folder.join(format!("golang.org/toolchain@{}", release.version));
    // A module's archive keeps no file modes.
    for programs in ["bin", "pkg/tool"] {
        make_executable(&root.join(programs))?;
    }
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("removing {}", target.display()))?;
    }
    fs::rename(&root, &target).with_context(|| format!("putting Go into {}", target.display()))?;
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}

fn make_executable(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("chmod of {}", path.display()))?;
        }
    }
    Ok(())
}
