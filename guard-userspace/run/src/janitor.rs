//! Tidying up after the guard, whatever its end was.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use guard_kernel::confine::inherited;
use nix::sys::signal::SigSet;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::{Error, Run};

/// The role's name on the command line of the guard.
const ROLE: &str = "run-janitor";

/// The process that waits for the guard's end. While this value lives, the guard is taken to live.
#[derive(Debug)]
pub(crate) struct Janitor {
    alive: Option<std::io::PipeWriter>,
    process: Child,
}

impl Janitor {
    /// Starts it, before anything is made that it would have to take back.
    pub(crate) fn start(run: &Run) -> Result<Self, Error> {
        let failed = |error| Error::step("starting the process that tidies up", "", error);
        let (end, alive) = std::io::pipe().map_err(failed)?;
        let passed = |flags| -> std::io::Result<()> {
            fcntl_setfd(&end, flags)?;
            Ok(fcntl_setfd(run.lock(), flags)?)
        };
        passed(FdFlags::empty()).map_err(failed)?;
        let process = Command::new("/proc/self/exe")
            .args([ROLE, "--id", &run.id])
            .args(["--end", &end.as_raw_fd().to_string(), "--lock", &run.lock().as_raw_fd().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn();
        passed(FdFlags::CLOEXEC).map_err(failed)?;
        Ok(Self { alive: Some(alive), process: process.map_err(failed)? })
    }

    /// Lets it do its work, and waits for that.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.alive.take();
        let status = self.process.wait().map_err(|error| Error::step("waiting for the tidying up", "", error))?;
        if status.success() {
            return Ok(());
        }
        let error = std::io::Error::other(status.to_string());
        Err(Error::step("tidying up", "the next `guard run` tries again", error))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.alive.take();
        // It may have been waited for.
        let _ = self.process.wait();
    }
}

/// The janitor itself: waits until the other end of `end` is gone, then ends the run. `lock` is the run's.
pub fn tidy_up_after(id: &str, end: RawFd, lock: RawFd) -> Result<(), Error> {
    // Whoever ends the guard by its terminal, or its group, does not mean this.
    let _ = nix::unistd::setsid();
    SigSet::all().thread_block().map_err(|error| Error::step("blocking signals", "", error))?;
    let (mut end, lock) = (File::from(inherited(end)?), File::from(inherited(lock)?));
    let run = Run::of(id, lock)?;
    let mut nothing = [0];
    while end.read(&mut nothing).is_ok_and(|length| length > 0) {}
    run.end()
}
