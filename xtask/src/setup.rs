//! Installs what is missing on Debian 12, or tells what to install; then builds what the clusters are made of.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

use crate::golang;
use crate::images;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::prometheus;
use crate::run::{capture, run};
use crate::tools::{self, BPF_LINKER, EbpfToolchain, LLVM_PREFIX};

/// Debian packages, each with the reason that it is here for.
const PACKAGES: &[(&str, &[&str])] = &[
    ("C code in crates and in runc", &["build-essential", "pkg-config", "libseccomp-dev"]),
    ("bpf-linker", &["llvm-22-dev", "zlib1g-dev"]),
    ("namespaces, routes and kube-proxy's rules", &["iproute2", "nftables", "util-linux", "mount", "kmod"]),
    ("fetching packages", &["ca-certificates"]),
    ("kernels in QEMU (slow tests)", &["qemu-system-x86", "cpio"]),
];
/// The kernel programs' compiler, unless a rustup nightly with rust-src is there.
const EBPF_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// What must be there and is not.
struct Missing {
    packages: Vec<&'static str>,
    bpf_linker: bool,
    go: bool,
}

/// Brings the machine to where everything else works. Says what it does; with nothing to do it takes about a second.
pub fn setup(paths: &Paths, progress: &Progress) -> Result<()> {
    let missing = Missing::find(paths)?;
    if !missing.is_empty() {
        if let Some(reason) =
            cannot_install(&std::fs::read_to_string("/etc/os-release").unwrap_or_default(), Uid::effective().is_root())
        {
            bail!("{reason}. To be installed:\n{}", missing.instructions());
        }
        missing.install(paths, progress)?;
    }
    progress.note(&format!("kernel programs: {}", EbpfToolchain::find()?.describe()));
    let binaries = golang::ensure(paths, progress)?;
    images::ensure(paths, &binaries, progress)?;
    prometheus::ensure(paths, progress)?;
    progress.note(&format!("all is there; the cache is {}", paths.cache.display()));
    Ok(())
}

/// Installs packages that only some verb needs; what they are for is in the error where this machine is not ours to install on.
pub fn ensure_packages(what_for: &str, wanted: &[&'static str]) -> Result<()> {
    let missing = not_installed(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if let Some(reason) = cannot_install(&os_release, Uid::effective().is_root()) {
        bail!("{reason}. To be installed for {what_for}: {}", missing.join(" "));
    }
    install_packages(&missing)
}

impl Missing {
    fn find(paths: &Paths) -> Result<Self> {
        let mut wanted: Vec<&'static str> =
            PACKAGES.iter().flat_map(|(_, packages)| packages.iter().copied()).collect();
        if EbpfToolchain::find().is_err() {
            wanted.extend(EBPF_PACKAGES);
        }
        // Any pip and any npm will do: they are asked for as programs, since both often come from elsewhere.
        if capture(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
            wanted.push("python3-pip");
        }
        if capture(Command::new("npm").arg("--version")).is_err() {
            wanted.push("npm");
        }
        Ok(Self {
            packages: not_installed(&wanted)?,
            bpf_linker: !tools::has_bpf_linker(paths),
            go: tools::go().is_none(),
        })
    }

    fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.bpf_linker && !self.go
    }

    /// The commands that a person would type.
    fn instructions(&self) -> String {
        let mut lines = Vec::new();
        if !self.packages.is_empty() {
            lines.push(format!("  apt-get install --no-install-recommends {}", self.packages.join(" ")));
            for (why, packages) in PACKAGES {
                let here: Vec<&str> =
                    packages.iter().copied().filter(|package| self.packages.contains(package)).collect();
                if !here.is_empty() {
                    lines.push(format!("    # {why}: {}", here.join(" ")));
                }
            }
        }
        if self.bpf_linker {
            lines.push(format!("  LLVM_PREFIX={LLVM_PREFIX} cargo install bpf-linker@{BPF_LINKER} --no-default-features --features llvm-22"));
        }
        if self.go {
            lines.push(format!("  Go {} or newer, as `go` on PATH", tools::GO_AT_LEAST));
        }
        lines.join("\n")
    }

    fn install(&self, paths: &Paths, progress: &Progress) -> Result<()> {
        // Before anything else is begun: Debian 12's own is too old for today's Kubernetes.
        ensure!(
            !self.go,
            "Go {} or newer is needed, as `go` on PATH; `setup` installs all the rest",
            tools::GO_AT_LEAST
        );
        if !self.packages.is_empty() {
            progress.note(&format!("installing {}", self.packages.join(" ")));
            progress.step("Debian packages", Duration::from_secs(90), || install_packages(&self.packages))?;
        }
        if self.bpf_linker {
            progress.step(&format!("bpf-linker {BPF_LINKER} from source"), Duration::from_secs(100), || {
                let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                cargo.args([
                    "install",
                    "--quiet",
                    "--locked",
                    "--no-default-features",
                    "--features",
                    "llvm-22",
                    "--root",
                ]);
                cargo.arg(tools::installed(paths)).arg(format!("bpf-linker@{BPF_LINKER}"));
                run(cargo.env("LLVM_PREFIX", LLVM_PREFIX).env("CARGO_TARGET_DIR", paths.cache.join("target-tools")))
            })?;
        }
        Ok(())
    }
}

fn install_packages(packages: &[&'static str]) -> Result<()> {
    capture(apt().arg("update")).context("apt-get update")?;
    capture(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages)).context("apt-get install")?;
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=120"]);
    command
}

/// Which of these packages dpkg does not have.
fn not_installed(wanted: &[&'static str]) -> Result<Vec<&'static str>> {
    if !Path::new("/usr/bin/dpkg-query").exists() {
        return Ok(wanted.to_vec());
    }
    // It fails when it does not know a package, and still answers for the others.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output()
        .context("asking dpkg what is installed")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let installed = installed_in(&text);
    Ok(wanted.iter().copied().filter(|package| !installed.contains(package)).collect())
}

fn installed_in(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_suffix(" installed")).collect()
}

/// Why this machine is not ours to install on.
fn cannot_install(os_release: &str, root: bool) -> Option<&'static str> {
    let has = |line: &str| os_release.lines().any(|found| found.replace('"', "") == line);
    if !(has("ID=debian") && has("VERSION_ID=12")) {
        return Some("setup installs on Debian 12 only, and this is another system");
    }
    (!root).then_some("setup installs as root only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_root_on_debian_12_has_things_installed() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(cannot_install(debian, true), None);
        assert!(cannot_install(debian, false).unwrap().contains("root"));
        assert!(cannot_install("ID=ubuntu\nVERSION_ID=\"24.04\"\n", true).is_some());
        assert!(cannot_install("ID=debian\nVERSION_ID=\"13\"\n", true).is_some());
    }

    #[test]
    fn the_instructions_name_all_that_is_missing() {
        let missing = Missing { packages: vec!["cpio", "rustc-web"], bpf_linker: true, go: true };
        let text = missing.instructions();
        for needed in ["apt-get install", "cpio", "rustc-web", "bpf-linker@", "Go 1.26"] {
            assert!(text.contains(needed), "{needed} in {text}");
        }
    }

    #[test]
    fn a_removed_package_is_not_installed() {
        assert_eq!(installed_in("a installed\nb config-files\n"), BTreeSet::from(["a"]));
    }
}
