//! What tests said, summed over all their binaries.

use std::io::{BufRead, BufReader, Write};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::run::shown;

/// Tests that passed and failed. A check that is no test, such as the format, counts when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
}

impl Counts {
    /// One failure that no test binary counted: a check, a compile error, a crash.
    pub const ONE_FAILED: Self = Self { passed: 0, failed: 1 };

    /// Reads libtest's closing line of one binary.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let rest = line.trim_start().strip_prefix("test result: ")?;
        let number = |what: &str| {
            rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
        };
        Some(Self { passed: number("passed")?, failed: number("failed")? })
    }

    /// The closing line.
    pub fn line(self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs `cargo test`, passing its output on, and sums what its binaries say. A run that fails without a failed test counts as one.
pub fn run_tests(command: &mut Command) -> Result<Counts> {
    sum_tests(command, &mut std::io::stdout())
}

/// The same, passing the output on to `out`.
pub fn sum_tests(command: &mut Command, out: &mut impl Write) -> Result<Counts> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("starting {}", shown(command)))?;
    let output = child.stdout.take().context("standard output was asked for")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("reading the output of {}", shown(command)))?;
        // A closed pipe must not end the tests half-way.
        let _ = out.write_all(&line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
        if let Some(found) = Counts::of_line(&String::from_utf8_lossy(&line)) {
            counts += found;
        }
    }
    let status = child.wait().with_context(|| format!("waiting for {}", shown(command)))?;
    if !status.success() && counts.failed == 0 {
        eprintln!("{} ended with {status}", shown(command));
        counts += Counts::ONE_FAILED;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_closing_line_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(Counts::of_line(line), Some(Counts { passed: 12, failed: 3 }));
        assert_eq!(Counts::of_line("test a ... ok"), None);
        assert_eq!(Counts::of_line("my test result: 1 passed"), None);
    }

    #[test]
    fn all_binaries_are_summed_and_a_crash_counts_as_a_failure() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; echo 'test result: ok. 3 passed; 0 failed; 0 ignored'";
        let counts = sum_tests(Command::new("sh").args(["-c", script]), &mut Vec::new()).unwrap();
        assert_eq!(counts.line(), "5 passed, 0 failed");
        let crashed =
            sum_tests(Command::new("sh").args(["-c", &format!("{script}; exit 101")]), &mut Vec::new()).unwrap();
        assert_eq!(crashed.line(), "5 passed, 1 failed");
    }
}
