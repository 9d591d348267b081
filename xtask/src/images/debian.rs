//! Root file systems from Debian's own packages: apt says which, `dpkg-deb` unpacks them. No package's scripts run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use crate::run::{capture, command};

/// Unpacks packages and all that they depend on into `root`, except what `without` brings already (a lower layer).
pub(super) fn unpack(paths: &Paths, root: &Path, packages: &[&str], without: &[&str]) -> Result<()> {
    let apt = Apt::new(paths)?;
    apt.fetch(packages, without)
        .or_else(|_| {
            // The lists are missing, or so old that the mirror has newer packages only.
            capture(command("apt-get", ["-qq", "update"]).arg("-o").arg("DPkg::Lock::Timeout=120"))
                .context("apt-get update")?;
            apt.fetch(packages, without)
        })?
        .iter()
        .try_for_each(|file| {
            let archive = apt.archives.join(file);
            capture(command("dpkg-deb", ["-x"]).arg(&archive).arg(root))
                .with_context(|| format!("unpacking {file}"))
                .map(drop)
        })
}

/// Unpacks one package of another architecture into `root`, of this upstream version. The machine's own lists of packages stay as they are.
pub(super) fn unpack_foreign(
    paths: &Paths,
    root: &Path,
    architecture: &str,
    package: &str,
    version: &str,
) -> Result<()> {
    let state = paths.images().join("debian").join(architecture);
    for part in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(state.join(part)).with_context(|| format!("making {}", state.display()))?;
    }
    let apt = |verb: &str| {
        let mut command = Command::new("apt-get");
        command
            .current_dir(&state)
            .args(["-qq", "-o", &format!("Dir::State::lists={}", state.join("lists").display())])
            .args(["-o", &format!("Dir::Cache={}", state.display()), "-o", "APT::Sandbox::User=root"])
            .args([
                "-o",
                &format!("APT::Architecture={architecture}"),
                "-o",
                &format!("APT::Architectures={architecture}"),
            ])
            .args(["-o", "Acquire::Retries=3", verb]);
        command
    };
    capture(&mut apt("update")).with_context(|| format!("asking the mirror for its packages for {architecture}"))?;
    let wanted = format!("{package}={version}+*");
    capture(apt("download").arg(&wanted)).with_context(|| format!("downloading {wanted}"))?;
    let is_archive = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{package}_{version}")) && name.ends_with(".deb")
    };
    let entries = fs::read_dir(&state).with_context(|| format!("reading {}", state.display()))?;
    let archive = entries.flatten().map(|entry| entry.path()).find(is_archive);
    let archive = archive.with_context(|| format!("apt downloaded no archive of {wanted}"))?;
    fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
    capture(command("dpkg-deb", ["-x"]).arg(&archive).arg(root))
        .with_context(|| format!("unpacking {}", archive.display()))?;
    fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))
}

/// apt with a machine of its own, on which nothing is installed.
struct Apt {
    archives: PathBuf,
    status: PathBuf,
}

impl Apt {
    fn new(paths: &Paths) -> Result<Self> {
        let folder = paths.images().join("debian");
        let apt = Self { archives: folder.join("archives"), status: folder.join("status") };
        fs::create_dir_all(apt.archives.join("partial"))
            .with_context(|| format!("making {}", apt.archives.display()))?;
        fs::write(&apt.status, "").with_context(|| format!("writing {}", apt.status.display()))?;
        Ok(apt)
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command
            .arg("-qq")
            .args(["-o", &format!("Dir::State::status={}", self.status.display())])
            .args(["-o", &format!("Dir::Cache::archives={}", self.archives.display())])
            .args(["-o", "APT::Install-Recommends=false", "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1"])
            .args(["-o", "Acquire::Retries=3"]);
        command
    }

    /// Downloads, and returns the archives that the lower layer lacks.
    fn fetch(&self, packages: &[&str], without: &[&str]) -> Result<Vec<String>> {
        let below = if without.is_empty() { BTreeSet::new() } else { self.files(without)? };
        let all = [without, packages].concat();
        let files = self.files(&all)?;
        self.download(&all)?;
        Ok(files.difference(&below).cloned().collect())
    }

    /// The archives' file names of these packages and their dependencies.
    fn files(&self, packages: &[&str]) -> Result<BTreeSet<String>> {
        // apt does not name what it has already, so it is asked with an empty cache.
        let mut command = self.get();
        command.args(["-o", "Dir::Cache::archives=/nonexistent/", "--print-uris", "install"]).args(packages);
        let text = capture(&mut command).context("asking apt for packages")?;
        let files: BTreeSet<String> =
            text.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect();
        if files.is_empty() {
            bail!("apt names no archive for {packages:?}");
        }
        Ok(files)
    }

    fn download(&self, packages: &[&str]) -> Result<()> {
        capture(self.get().args(["--yes", "--download-only", "install"]).args(packages))
            .context("downloading Debian packages")
            .map(drop)
    }
}
