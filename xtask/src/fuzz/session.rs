//! One run of a fuzz target: started so that it ends with us, watched until its CPU time is used up.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::process;
use crate::progress::Progress;

/// How often a target is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often a person is told.
const TELL: Duration = Duration::from_mins(1);
/// One input that takes this long hangs; generous, since machines are slow.
const INPUT_SECONDS: u32 = 60;
/// Above this the target holds what it should not.
const MEMORY_MIB: u32 = 1024;

/// CPU time of the target, which does not depend on what else the machine does.
#[derive(Clone, Copy, Debug)]
pub struct Budget(pub Duration);

/// How a run ended.
pub(super) struct Ended {
    /// What libFuzzer wrote.
    pub(super) log: String,
    pub(super) status: ExitStatus,
    /// Used.
    pub(super) cpu: Duration,
}

pub(super) fn run(
    name: &str,
    program: &Path,
    arguments: &[OsString],
    log: &Path,
    budget: Budget,
    progress: &Progress,
) -> Result<Ended> {
    let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
    let mut command = Command::new("setpriv");
    // A fuzzer that outlives its `xtask` would run for ever.
    command.args(["--pdeathsig", "TERM", "--"]).arg(program).args(arguments).args([
        "-print_final_stats=1".to_owned(),
        // There is no leak sanitizer to ask.
        "-detect_leaks=0".to_owned(),
        format!("-timeout={INPUT_SECONDS}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
    ]);
    command.stderr(file.try_clone().context("sharing the log")?).stdout(file);
    let mut child = command.spawn().context("starting setpriv (util-linux) with the fuzz target")?;
    let (status, cpu) = watch(name, &mut child, log, budget, progress)?;
    let log = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    Ok(Ended { log: String::from_utf8_lossy(&log).into_owned(), status, cpu })
}

fn watch(
    name: &str,
    child: &mut Child,
    log: &Path,
    budget: Budget,
    progress: &Progress,
) -> Result<(ExitStatus, Duration)> {
    let pid = i32::try_from(child.id()).context("a pid fits an i32")?;
    let tick = sysconf(SysconfVar::CLK_TCK).context("asking for the length of a clock tick")?;
    let ticks_per_second = u32::try_from(tick.unwrap_or(100)).context("a clock tick is shorter than a second")?;
    let (mut used, mut told) = (Duration::ZERO, Instant::now());
    loop {
        if let Some(status) = child.try_wait().context("waiting for the fuzz target")? {
            return Ok((status, used));
        }
        if let Some(ticks) = process::cpu_ticks(pid) {
            used = Duration::from_secs(ticks) / ticks_per_second;
        }
        if used >= budget.0 {
            // libFuzzer ends with its statistics. The child is not waited for yet, so the pid is still its own.
            kill(Pid::from_raw(pid), Signal::SIGINT).context("ending the fuzz target")?;
            let status = child.wait().context("waiting for the fuzz target")?;
            return Ok((status, used));
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            let so_far = fs::read(log).map(|text| last_line(&String::from_utf8_lossy(&text))).unwrap_or_default();
            progress.detail(&format!("{name}, {} of {} s: {so_far}", used.as_secs(), budget.0.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
}

fn last_line(log: &str) -> String {
    log.lines().next_back().unwrap_or_default().to_owned()
}
