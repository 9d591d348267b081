//! The kernel programs on other kernels: Debian's, booted in QEMU, each running the tests of `guard-kernel`.

mod guest;
mod machine;
mod package;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::build::cargo;
use crate::counts::Counts;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::run::capture;
use guest::Guest;
use machine::Machine;
use package::Suite;

/// One kernel of the matrix.
#[derive(Debug)]
pub struct Kernel {
    /// Major and minor, as a person names it.
    pub version: &'static str,
    suite: &'static str,
    /// The others are left out, aloud, where the mirror does not have their suite.
    required: bool,
    /// Which of the tests; empty: all.
    tests: &'static [&'static str],
    /// What the guard must say of this kernel.
    says: &'static [&'static str],
}

/// What the tests print before what the guard says of its kernel.
const SAID: &str = "this kernel: ";

/// A kernel that is refused, the oldest that Debian still has with clsact alone, and one with all that the guard uses.
pub const MATRIX: &[Kernel] = &[
    Kernel {
        version: "5.10",
        suite: "bullseye",
        required: false,
        tests: &["--exact", "pod_hooks::what_this_kernel_lacks_is_said"],
        says: &["the guard needs Linux 5.15 or newer: older ones lack SO_NETNS_COOKIE"],
    },
    Kernel {
        version: "6.1",
        suite: "bookworm",
        required: true,
        tests: &[],
        says: &["no tcx (Linux 6.6)", IPVS_IS_REFUSED, WIREGUARD_ENDS],
    },
    Kernel {
        version: "6.12",
        suite: "trixie",
        required: false,
        tests: &[],
        says: &["nothing is missing", IPVS_IS_REFUSED, WIREGUARD_ENDS],
    },
];

/// What the tests say of that which not every kernel has, and Debian's do.
const IPVS_IS_REFUSED: &str = "what IPVS sends on is refused";
const WIREGUARD_ENDS: &str = "a WireGuard device of the pod ends at its veth";

/// Runs the tests of `guard-kernel` on these kernels.
pub fn run(paths: &Paths, progress: &Progress, kernels: &[&Kernel]) -> Result<Counts> {
    let tests = test_binary(paths)?;
    let mut counts = Counts::default();
    for kernel in kernels {
        let suite = Suite::open(paths, kernel.suite)?;
        let package = match suite.kernel() {
            Ok(package) => package,
            Err(error) if !kernel.required => {
                progress.note(&format!("Linux {} is left out: {error:#}", kernel.version));
                continue;
            }
            Err(error) => return Err(error.context(format!("getting Linux {}", kernel.version))),
        };
        let initramfs = Guest { package: &package, tests: &tests, folder: suite.folder() }.build()?;
        let log = paths.cache.join("logs").join(format!("kernel-{}.log", kernel.version));
        let machine = Machine { image: &package.image, initramfs: &initramfs, log: &log };
        let what = format!("Linux {}, under QEMU", package.release);
        let text = progress.step(&what, Duration::from_mins(2), || machine.run(&tests_arguments(kernel)))?;
        counts += kernel.judge(&text, progress, &log.display().to_string());
    }
    Ok(counts)
}

/// One thread: the tests are bounded in time, and a machine without acceleration is slow.
fn tests_arguments(kernel: &Kernel) -> String {
    [&["--test-threads=1", "--show-output"], kernel.tests].concat().join(" ")
}

impl Kernel {
    /// What the machine's console says of the tests. What the guard had to say of the kernel counts as one more test.
    fn judge(&self, console: &str, progress: &Progress, log: &str) -> Counts {
        let mut counts = Counts::default();
        let found = console.lines().find_map(Counts::of_line);
        counts += found.unwrap_or(Counts::ONE_FAILED);
        if found.is_none() || counts.failed > 0 {
            let told = console.split_once("\nfailures:").map_or(console, |(_, failures)| failures);
            progress.note(crate::run::tail(told, 60).as_str());
            progress.note(&format!("the machine's console: {log}"));
        }
        let said: Vec<&str> = console.lines().filter_map(|line| line.trim_end().strip_prefix(SAID)).collect();
        for line in &said {
            progress.note(&format!("Linux {}: {line}", self.version));
        }
        for wanted in self.says {
            if said.iter().any(|line| line.contains(wanted)) {
                counts.passed += 1;
            } else {
                progress.note(&format!("Linux {}: the guard did not say: {wanted}", self.version));
                counts += Counts::ONE_FAILED;
            }
        }
        counts
    }
}

/// A message of `cargo --message-format=json`, as far as it is read.
#[derive(Deserialize)]
struct Message {
    executable: Option<std::path::PathBuf>,
}

/// Builds the tests of `guard-kernel` that need a kernel.
fn test_binary(paths: &Paths) -> Result<std::path::PathBuf> {
    let mut command = cargo(paths);
    command.args(["test", "--quiet", "--package", "guard-kernel", "--test", "namespaces", "--no-run"]);
    let text = capture(command.arg("--message-format=json")).context("building the tests of guard-kernel")?;
    let executable = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable).next_back();
    let Some(executable) = executable else { bail!("cargo names no test binary of guard-kernel:\n{text}") };
    Ok(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "test a ... ok\r\nthis kernel: no tcx (Linux 6.6): the programs …\r\n\
                           this kernel: what IPVS sends on is refused\r\n\
                           this kernel: a WireGuard device of the pod ends at its veth\r\n\
                           test result: ok. 37 passed; 0 failed; 1 ignored; 0 measured\r\n";

    fn judged(console: &str) -> Counts {
        let kernel = MATRIX.iter().find(|kernel| kernel.version == "6.1").unwrap();
        kernel.judge(console, &Progress::new(false), "log")
    }

    #[test]
    fn what_the_guard_says_of_a_kernel_counts_as_a_test() {
        assert_eq!(judged(CONSOLE), Counts { passed: 40, failed: 0 });
        assert_eq!(judged(&CONSOLE.replace("no tcx", "all is well")), Counts { passed: 39, failed: 1 });
    }

    #[test]
    fn a_console_without_a_result_is_a_failure() {
        assert_eq!(judged("Kernel panic\r\n"), Counts { passed: 0, failed: 4 });
    }
}
