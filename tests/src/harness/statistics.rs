//! How often the guard's programs run.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;

use aya::sys::{Stats, enable_stats};

use super::Guard;

/// The kernel counts runs while this lives, for however many who ask for it (bpf(2), `BPF_ENABLE_STATS`).
pub struct Statistics {
    _held: OwnedFd,
}

impl Statistics {
    /// Counting from now on.
    #[track_caller]
    pub fn on() -> Self {
        Self { _held: enable_stats(Stats::RunTime).expect("the kernel counts its programs' runs") }
    }

    /// Each program of this guard by its number, and how often it ran (bpf(2), `/proc/PID/fdinfo`).
    #[track_caller]
    pub fn runs(&self, guard: &Guard) -> BTreeMap<u64, u64> {
        let folder = format!("/proc/{}/fdinfo", guard.process_id());
        let mut runs = BTreeMap::new();
        for file in fs::read_dir(folder).expect("the guard runs").flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|value| value.trim().parse::<u64>().ok())
            };
            if let (Some(id), Some(count)) = (field("prog_id:"), field("run_cnt:")) {
                runs.insert(id, count);
            }
        }
        runs
    }
}
