//! What a guard's process holds (proc(5)).

use std::fs;

use super::Guard;

impl Guard {
    /// Makes its highest resident size so far the present one.
    #[track_caller]
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.process_id()), "5").expect("the guard runs");
    }

    /// Its highest resident size since, in bytes.
    #[track_caller]
    pub fn memory_peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Its resident size, in bytes.
    #[track_caller]
    pub fn memory_now(&self) -> u64 {
        self.memory("VmRSS:")
    }

    #[track_caller]
    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process_id())).expect("the guard runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("proc(5)");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes << 10
    }
}
