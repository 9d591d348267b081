//! A machine in QEMU, without acceleration: it works wherever these tests run, and behaves the same.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::{command, tail};

/// Four times what the tests take on two busy cores.
const LIMIT: Duration = Duration::from_mins(15);
/// All that QEMU emulates, but for `cmpxchg16b`: QEMU 7.2 gets it wrong with several CPUs, and kernels from 6.6 on, which use
/// it in every allocation, die of that.
const CPU: &str = "max,-cx16";
/// What the guest's script says last.
const ENDED: &str = "guest: the tests ended with ";

/// What is booted.
pub(super) struct Machine<'a> {
    pub(super) image: &'a Path,
    pub(super) initramfs: &'a Path,
    /// Where its console goes.
    pub(super) log: &'a Path,
}

impl Machine<'_> {
    /// Boots, runs the tests with these arguments, and gives what the console said. An error: they did not come to an end.
    pub(super) fn run(&self, arguments: &str) -> Result<String> {
        if let Some(folder) = self.log.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let console = File::create(self.log).with_context(|| format!("making {}", self.log.display()))?;
        let line = format!("console=ttyS0 quiet panic=-1 tests={}", arguments.replace(' ', ","));
        let mut qemu = command("qemu-system-x86_64", ["-accel", "tcg", "-cpu", CPU, "-smp", "2", "-m", "2048"]);
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-append", &line])
            .args(["-kernel".as_ref(), self.image.as_os_str(), "-initrd".as_ref(), self.initramfs.as_os_str()])
            .stdin(Stdio::null())
            .stderr(console.try_clone().context("sharing the console's log")?)
            .stdout(console);
        let mut child = qemu.spawn().context("starting qemu-system-x86_64: `cargo xtask setup` installs it")?;
        let start = Instant::now();
        while child.try_wait().context("waiting for QEMU")?.is_none() {
            if start.elapsed() > LIMIT {
                child.kill().and_then(|()| child.wait()).context("ending QEMU")?;
                bail!("the machine still ran after {} minutes{}", LIMIT.as_secs() / 60, self.ending());
            }
            sleep(Duration::from_millis(100));
        }
        let console = self.console()?;
        if !console.contains(ENDED) {
            bail!("the machine ended before its tests did{}", self.ending());
        }
        Ok(console)
    }

    fn console(&self) -> Result<String> {
        let bytes = fs::read(self.log).with_context(|| format!("reading {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn ending(&self) -> String {
        let text = self.console().unwrap_or_default();
        format!("; its console is {}:\n{}", self.log.display(), tail(&text, 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_cannot_boot_is_an_error_that_tells_its_console() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let nothing = folder.path().join("nothing");
        let machine = Machine { image: &nothing, initramfs: &nothing, log: &log };
        let error = machine.run("").unwrap_err().to_string();
        assert!(error.contains("ended before") && error.contains("nothing"), "{error}");
    }
}
