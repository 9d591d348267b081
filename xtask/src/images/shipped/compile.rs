//! Compiles the guard for the image: static, stripped, and the same bytes from whatever folder.

use std::env;
use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::images::debian;
use crate::paths::Paths;
use crate::run::{capture, run};
use crate::setup;

/// Debian's compiler: the one of which there are libraries for another architecture too.
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Linker and C library for the other architecture.
const CROSS_PACKAGES: &[&str] = &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "rustc-web", "cargo-web"];

/// What the image's program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// Go's name, which images use.
    pub fn of_images(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's name of the target.
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    pub(super) fn is_this_machines(self) -> bool {
        self.target().starts_with(env::consts::ARCH)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.of_images())
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Amd64, Self::Arm64]
            .into_iter()
            .find(|architecture| architecture.of_images() == text)
            .ok_or_else(|| format!("{text:?} is neither amd64 nor arm64"))
    }
}

/// Builds the program in a target folder of its own; returns where it is.
pub fn compile(paths: &Paths, architecture: Architecture, target: &Path) -> Result<PathBuf> {
    let toolchain =
        if architecture.is_this_machines() { Toolchain::own() } else { Toolchain::cross(paths, architecture)? };
    let mut cargo = toolchain.cargo;
    cargo
        .current_dir(&paths.root)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "guard",
            "--profile",
            "dist",
            "--target",
            architecture.target(),
        ])
        .env("CARGO_TARGET_DIR", target)
        .env("EGRESS_GUARD_CACHE", &paths.cache)
        .env("GUARD_EBPF_OBJECT", object(paths))
        // Not what happens to be set around us, nor what a configuration file adds.
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(paths, target, toolchain.sysroot.as_deref())?.join("\x1f"))
        .env("CFLAGS", c_flags(paths, target)?)
        .env("SOURCE_DATE_EPOCH", "0")
        .env("CARGO_INCREMENTAL", "0");
    run(&mut cargo)?;
    Ok(target.join(architecture.target()).join("dist/guard"))
}

/// What the caller has built, or names.
fn object(paths: &Paths) -> PathBuf {
    env::var_os("GUARD_EBPF_OBJECT").map_or_else(|| build::ebpf_object(paths), PathBuf::from)
}

/// Which cargo, and where the target's libraries are if not in its own folder.
struct Toolchain {
    cargo: Command,
    sysroot: Option<PathBuf>,
}

impl Toolchain {
    fn own() -> Self {
        Self { cargo: Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())), sysroot: None }
    }

    fn cross(paths: &Paths, architecture: Architecture) -> Result<Self> {
        if architecture != Architecture::Arm64 {
            bail!("images for {architecture} are made on a machine of that architecture only");
        }
        setup::ensure_packages("cross-compiling the image", CROSS_PACKAGES)?;
        let mut cargo = Command::new(DEBIAN_CARGO);
        cargo
            .env("RUSTC", DEBIAN_RUSTC)
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
            .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
            .env("AR_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-ar");
        Ok(Self { cargo, sysroot: Some(sysroot(paths, architecture)?) })
    }
}

/// Debian's libraries for the other architecture beside those of this machine, which Debian itself does not install together.
fn sysroot(paths: &Paths, architecture: Architecture) -> Result<PathBuf> {
    let version = capture(Command::new(DEBIAN_RUSTC).arg("--version"))?;
    let version = version.split_whitespace().nth(1).context("rustc says its version")?.to_owned();
    let folder = paths.cache.join("tools").join(format!("sysroot-{architecture}-{version}"));
    let libraries = folder.join("lib/rustlib").join(architecture.target());
    if libraries.is_dir() {
        return Ok(folder);
    }
    let partial = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(partial.join("lib")).with_context(|| format!("making {}", partial.display()))?;
    debian::unpack_foreign(
        paths,
        &partial.join("packages"),
        architecture.of_images(),
        "libstd-rust-web-dev",
        &version,
    )?;
    let rustlib = partial.join("lib/rustlib");
    fs::rename(partial.join("packages/usr/lib/rustlib"), &rustlib).context("the package has no usr/lib/rustlib")?;
    for own in fs::read_dir("/usr/lib/rustlib").context("reading /usr/lib/rustlib")?.flatten() {
        let place = rustlib.join(own.file_name());
        if !place.exists() {
            symlink(own.path(), &place).with_context(|| format!("linking {}", place.display()))?;
        }
    }
    fs::rename(&partial, &folder).with_context(|| format!("putting the libraries into {}", folder.display()))?;
    Ok(folder)
}

fn rust_flags(paths: &Paths, target: &Path, sysroot: Option<&Path>) -> Result<Vec<String>> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned(), "-Clink-arg=-Wl,--build-id=none".to_owned()];
    for (folder, name) in build::remapped(paths, target)? {
        flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
    }
    flags.extend(sysroot.map(|folder| format!("--sysroot={}", folder.display())));
    Ok(flags)
}

fn c_flags(paths: &Paths, target: &Path) -> Result<String> {
    let maps = build::remapped(paths, target)?;
    let maps: Vec<_> =
        maps.iter().map(|(folder, name)| format!("-ffile-prefix-map={}={name}", folder.display())).collect();
    Ok(maps.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_named_as_images_name_them() {
        assert_eq!("arm64".parse(), Ok(Architecture::Arm64));
        assert!("aarch64".parse::<Architecture>().is_err());
        assert_eq!(Architecture::Arm64.target(), "aarch64-unknown-linux-gnu");
    }

    #[test]
    fn no_folder_of_this_machine_is_left_to_be_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { root: folder.path().to_owned(), cache: PathBuf::new() };
        let flags = rust_flags(&paths, Path::new("/t"), None).unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        assert!(flags.contains(&format!("--remap-path-prefix={}=/egress-guard", root.display())), "{flags:?}");
        assert!(c_flags(&paths, Path::new("/t")).unwrap().contains("-ffile-prefix-map=/t=/target"));
    }
}
