//! Which Go, which toolchain for the kernel programs, which linker: found, not assumed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::paths::Paths;
use crate::run::capture;

/// The oldest Go that `tests/go` is built with: what is on `PATH` counts, whatever it could fetch.
pub const GO_AT_LEAST: Version = Version([1, 26, 6]);
/// What links the kernel programs.
pub const BPF_LINKER: &str = "0.13.0";
/// Debian's LLVM that bpf-linker is built with: the same as its rustc's.
pub const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// A version of three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

impl Version {
    /// The first `X.Y` or `X.Y.Z` in a text, such as `go version go1.26.8 linux/amd64`.
    pub fn first_in(text: &str) -> Option<Self> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
            let mut numbers = word.split('.').map(str::parse);
            let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return None };
            Some(Self([major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)]))
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.0;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

/// The Go to build with: the one on `PATH`, if it is new enough.
pub fn go() -> Option<PathBuf> {
    let version = capture(Command::new("go").arg("version")).ok();
    let is_new_enough = version.as_deref().and_then(Version::first_in).is_some_and(|version| version >= GO_AT_LEAST);
    is_new_enough.then(|| PathBuf::from("go"))
}

/// Where `setup` puts programs that cargo builds.
pub fn installed(paths: &Paths) -> PathBuf {
    paths.cache.join("tools")
}

/// `PATH` with the cache's tools behind what the machine has.
pub fn search_path(paths: &Paths) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:{}", installed(paths).join("bin").display())
}

/// Whether a bpf-linker of the wanted version is there.
pub fn has_bpf_linker(paths: &Paths) -> bool {
    let mut command = Command::new("bpf-linker");
    command.arg("--version").env("PATH", search_path(paths));
    // The program is looked up in our own PATH, so the cache is asked by its full name.
    let fallback = capture(Command::new(installed(paths).join("bin/bpf-linker")).arg("--version"));
    capture(&mut command).or(fallback).is_ok_and(|text| text.trim() == format!("bpf-linker {BPF_LINKER}"))
}

/// What compiles the kernel programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EbpfToolchain {
    /// Debian's `rustc-web` and `cargo-web`, with `core` for BPF from `libstd-rust-web-dev-bpf`.
    Debian {
        /// What `rustc --version` says.
        version: String,
    },
    /// A rustup nightly with `rust-src`: `core` is built along.
    Nightly {
        /// What `rustc --version` says.
        version: String,
    },
}

impl EbpfToolchain {
    /// Debian's pair first: its LLVM is the one that bpf-linker is built with.
    pub fn find() -> Result<Self> {
        if Path::new("/usr/lib/rustlib/bpfel-unknown-none/lib").is_dir()
            && Path::new("/usr/bin/cargo").exists()
            && let Ok(version) = capture(Command::new("/usr/bin/rustc").arg("--version"))
        {
            return Ok(Self::Debian { version: version.trim().to_owned() });
        }
        if let Ok(sysroot) = capture(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]))
            && Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
        {
            let version = capture(Command::new("rustup").args(["run", "nightly", "rustc", "--version"]))?;
            return Ok(Self::Nightly { version: version.trim().to_owned() });
        }
        bail!(
            "no toolchain for the kernel programs: `cargo xtask setup` installs Debian's (rustc-web, cargo-web, \
             libstd-rust-web-dev-bpf); elsewhere, `rustup toolchain install nightly --component rust-src`"
        )
    }

    /// A sentence for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Debian { version } => format!("Debian's matched pair ({version}), core for BPF as Debian ships it"),
            Self::Nightly { version } => format!("rustup's nightly with rust-src ({version}), core built along"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_and_compared_as_numbers() {
        assert_eq!(Version::first_in("go version go1.26.8 linux/amd64"), Some(Version([1, 26, 8])));
        assert_eq!(Version::first_in("go version go1.19 linux/amd64"), Some(Version([1, 19, 0])));
        assert_eq!(Version::first_in("nothing"), None);
        assert!(Version([1, 26, 10]) > GO_AT_LEAST && Version([1, 9, 9]) < GO_AT_LEAST);
    }
}
