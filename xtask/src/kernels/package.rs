//! A kernel of another suite of Debian: its package, taken with an apt root of its own, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use crate::run::{capture, command};

/// Names the newest kernel of a suite, without drivers for hardware.
const NEWEST: &str = "linux-image-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite, in a folder of the cache.
pub(super) struct Suite {
    name: &'static str,
    folder: PathBuf,
}

/// A kernel, unpacked.
pub(super) struct Package {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// What is booted.
    pub(super) image: PathBuf,
    /// `lib/modules/<release>`.
    pub(super) modules: PathBuf,
}

impl Suite {
    pub(super) fn open(paths: &Paths, name: &'static str) -> Result<Self> {
        let folder = paths.cache.join("kernels").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { name, folder })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kernel that was unpacked before, or the newest of the suite. Delete the folder to get a newer one.
    pub(super) fn kernel(&self) -> Result<Package> {
        let unpacked = self.folder.join("unpacked");
        if !unpacked.exists() {
            self.unpack(&unpacked)?;
        }
        Package::find(&unpacked)
    }

    fn unpack(&self, to: &Path) -> Result<()> {
        let apt = self.folder.join("apt");
        fs::create_dir_all(apt.join("lists/partial")).with_context(|| format!("making {}", apt.display()))?;
        fs::write(apt.join("status"), "").context("writing apt's status")?;
        let source = format!("deb [signed-by={KEYRING}] {} {} main\n", archive()?, self.name);
        fs::write(apt.join("sources.list"), source).context("writing apt's source")?;
        capture(self.apt("apt-get").args(["-qq", "-o", "APT::Update::Error-Mode=any", "update"]))
            .with_context(|| format!("asking Debian's archive for the suite {}", self.name))?;
        let depends = capture(self.apt("apt-cache").args(["depends", NEWEST]))?;
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
        let package = package.with_context(|| format!("{} has no {NEWEST}", self.name))?;
        capture(self.apt("apt-get").args(["-qq", "download", &format!("linux-image-{package}")]))?;
        let archive = only(&self.folder, |name| name.starts_with("linux-image-"))?;
        let partial = self.folder.join("unpacking");
        capture(command("dpkg-deb", ["-x"]).arg(&archive).arg(&partial))?;
        fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))?;
        // depmod's files are made when the package is installed, which it never is.
        let package = Package::find(&partial)?;
        let base = package.modules.ancestors().nth(3).context("modules lie three folders deep")?;
        capture(command("depmod", ["-b"]).arg(base).arg(&package.release))?;
        fs::rename(&partial, to).with_context(|| format!("moving {} to {}", partial.display(), to.display()))
    }

    fn apt(&self, program: &str) -> Command {
        let apt = self.folder.join("apt");
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        for (option, value) in [
            ("Dir::State::status", apt.join("status")),
            ("Dir::State::lists", apt.join("lists")),
            ("Dir::Etc::sourcelist", apt.join("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Cache::pkgcache", PathBuf::new()),
            ("Dir::Cache::srcpkgcache", PathBuf::new()),
        ] {
            command.args(["-o", &format!("{option}={}", value.display())]);
        }
        command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3"]);
        command
    }
}

impl Package {
    fn find(unpacked: &Path) -> Result<Self> {
        let image = only(&unpacked.join("boot"), |name| name.starts_with("vmlinuz-"))?;
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let release = name.trim_start_matches("vmlinuz-").to_owned();
        // Since trixie nothing is outside /usr.
        let places = ["lib/modules", "usr/lib/modules"].map(|place| unpacked.join(place).join(&release));
        let modules = places.into_iter().find(|place| place.exists());
        let modules = modules.with_context(|| format!("{} has no modules of {release}", unpacked.display()))?;
        Ok(Self { release, image, modules })
    }
}

/// Where this machine gets Debian's packages from.
fn archive() -> Result<String> {
    let format = "$(REPO_URI) $(ORIGIN) $(COMPONENT) $(LABEL)";
    let text = capture(&mut command("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]))?;
    let uri = text.lines().find_map(|line| line.strip_suffix(" Debian main Debian"));
    let uri = uri.context("this machine's apt has no source with Debian's archive: is `apt-get update` due?")?;
    Ok(uri.to_owned())
}

/// The one file of a folder with such a name.
fn only(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let files = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut found = files.flatten().filter(|file| wanted(&file.file_name().to_string_lossy())).map(|file| file.path());
    match (found.next(), found.next()) {
        (Some(file), None) => Ok(file),
        (None, _) => bail!("what was looked for is not in {}", folder.display()),
        (Some(one), Some(other)) => bail!("both {} and {} are there: delete the older", one.display(), other.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_both_places() {
        for place in ["lib/modules", "usr/lib/modules"] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("boot")).unwrap();
            fs::write(folder.path().join("boot/vmlinuz-6.1.0-50-cloud-amd64"), "").unwrap();
            assert!(Package::find(folder.path()).is_err(), "no modules yet");
            fs::create_dir_all(folder.path().join(place).join("6.1.0-50-cloud-amd64")).unwrap();
            let package = Package::find(folder.path()).unwrap();
            assert_eq!(package.release, "6.1.0-50-cloud-amd64");
            assert!(package.modules.starts_with(folder.path().join(place)));
        }
    }

    #[test]
    fn two_candidates_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let package = |name: &str| name.starts_with("linux-image-");
        assert!(only(folder.path(), package).is_err());
        fs::write(folder.path().join("linux-image-a"), "").unwrap();
        assert!(only(folder.path(), package).unwrap().ends_with("linux-image-a"));
        fs::write(folder.path().join("linux-image-b"), "").unwrap();
        assert!(only(folder.path(), package).unwrap_err().to_string().contains("both"));
    }
}
