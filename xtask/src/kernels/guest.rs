//! The root file system of a machine that runs the tests: this machine's programs, the kernel's modules, one script.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::package::Package;
use crate::run::{capture, command};

/// What the tests and the script start.
const PROGRAMS: &[&str] = &["bash", "ip", "kmod", "mount", "nft", "nsenter", "sleep", "tc"];
/// What those look up, and a file that is no namespace.
const FILES: &[&str] = &["/etc/protocols", "/etc/services", "/etc/passwd"];
/// Folders of modules; the kernel loads what it needs by name.
const MODULES: &[&str] = &[
    "kernel/arch",
    "kernel/crypto",
    "kernel/lib",
    "kernel/net",
    "kernel/drivers/net/ipvlan",
    "kernel/drivers/net/vxlan",
    "kernel/drivers/net/wireguard",
];

/// The script that the kernel starts. `tests=` on the kernel's command line are the tests' arguments, `,` between them.
const INIT: &str = include_str!("init.sh");

/// What goes into the root file system.
pub(super) struct Guest<'a> {
    pub(super) package: &'a Package,
    /// The test binary.
    pub(super) tests: &'a Path,
    /// Where it is built.
    pub(super) folder: &'a Path,
}

impl Guest<'_> {
    /// Builds the archive that the kernel unpacks into memory.
    pub(super) fn build(&self) -> Result<PathBuf> {
        let root = self.folder.join("root");
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
        }
        for folder in ["bin", "dev", "etc", "lib/modules", "lib64", "proc", "run", "sys", "tmp", "usr"] {
            make(&root.join(folder))?;
        }
        for (link, target) in [
            ("sbin", "bin"),
            ("usr/bin", "../bin"),
            ("usr/sbin", "../bin"),
            ("bin/modprobe", "kmod"),
            ("bin/sh", "bash"),
        ] {
            symlink(target, root.join(link)).with_context(|| format!("linking {link} to {target}"))?;
        }
        for program in PROGRAMS {
            let path = capture(&mut command("sh", ["-c", &format!("command -v {program}")]))
                .with_context(|| format!("{program} is not on PATH: `cargo xtask setup` installs it"))?;
            add_program(&root, Path::new(path.trim()), program)?;
        }
        add_program(&root, self.tests, "namespaces")?;
        for file in FILES {
            copy(Path::new(file), &root.join(file.trim_start_matches('/')))?;
        }
        self.add_modules(&root)?;
        let init = root.join("init");
        fs::write(&init, INIT).context("writing the init script")?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("making the init script executable")?;
        let archive = self.folder.join("initramfs");
        let script = r#"cd "$1" && find . | cpio --quiet --create --format=newc > "$2""#;
        capture(command("bash", ["-o", "pipefail", "-c", script, "bash"]).arg(&root).arg(&archive))?;
        Ok(archive)
    }

    fn add_modules(&self, root: &Path) -> Result<()> {
        let from = &self.package.modules;
        let to = root.join("lib/modules").join(&self.package.release);
        make(&to.join("kernel/drivers/net"))?;
        for folder in MODULES.iter().filter(|folder| from.join(folder).exists()) {
            capture(command("cp", ["--recursive"]).arg(from.join(folder)).arg(to.join(folder)))?;
        }
        // Virtual devices lie beside the folders of the hardware's drivers; depmod's files beside those of all modules.
        for folder in ["", "kernel/drivers/net"] {
            for file in
                fs::read_dir(from.join(folder)).with_context(|| format!("reading {}", from.display()))?.flatten()
            {
                if file.path().is_file() {
                    copy(&file.path(), &to.join(folder).join(file.file_name()))?;
                }
            }
        }
        Ok(())
    }
}

/// A program and the libraries that it is linked with, these where it looks for them.
fn add_program(root: &Path, program: &Path, name: &str) -> Result<()> {
    copy(program, &root.join("bin").join(name))?;
    let libraries = capture(&mut command("ldd", [program]))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        if !to.exists() {
            make(to.parent().context("a library lies in a folder")?)?;
            copy(Path::new(library), &to)?;
        }
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("copying {} to {}", from.display(), to.display()))
}
