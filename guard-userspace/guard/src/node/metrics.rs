//! The kernel's counters as metrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use guard_common::{Hook, Reason};
use guard_kernel::Kernel;
use guard_kernel::kernel::Refusals as Counter;
use guard_telemetry::Metrics;

use super::enforcement::SharedKernel;

/// How old the kernel's counts in the metrics may be.
const INTERVAL: Duration = Duration::from_secs(1);

/// Carries the kernel's counts over: those are per workload and end with it, the metrics go on.
pub(super) struct Refusals {
    metrics: Arc<Metrics>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    counts: HashMap<(u64, Hook, Reason), u64>,
    lost: u64,
}

impl Refusals {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, seen: Mutex::default() }
    }

    /// Adds what was counted since the last time.
    pub(super) fn update(&self, kernel: &Kernel) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match kernel.refusals() {
            Ok(counters) => {
                for ((hook, reason), count) in seen.take(&counters) {
                    self.metrics.refusals_total.with_label_values(&[hook.name(), reason.name()]).inc_by(count);
                }
            }
            Err(error) => tracing::warn!(%error, "the kernel's counters can't be read"),
        }
        match kernel.lost_reports() {
            Ok(lost) => {
                self.metrics.reports_lost_total.inc_by(lost.saturating_sub(seen.lost));
                seen.lost = lost;
            }
            Err(error) => tracing::warn!(%error, "the kernel's count of lost reports can't be read"),
        }
    }

    /// Follows the counters until dropped.
    pub(super) async fn run(self: Arc<Self>, kernel: SharedKernel) {
        loop {
            self.update(&kernel.lock());
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

impl Seen {
    /// What is new in the counters, by hook and reason.
    fn take(&mut self, counters: &[Counter]) -> HashMap<(Hook, Reason), u64> {
        let now: HashMap<_, _> =
            counters.iter().map(|counter| ((counter.workload, counter.hook, counter.reason), counter.count)).collect();
        let mut new = HashMap::new();
        for ((workload, hook, reason), count) in &now {
            let before = self.counts.get(&(*workload, *hook, *reason)).copied().unwrap_or(0);
            *new.entry((*hook, *reason)).or_default() += count.saturating_sub(before);
        }
        self.counts = now;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(workload: u64, count: u64) -> Counter {
        Counter { workload, hook: Hook::Connect4, reason: Reason::ControlPlane, count }
    }

    #[test]
    fn counts_go_on_when_a_workload_is_gone() {
        let mut seen = Seen::default();
        let key = (Hook::Connect4, Reason::ControlPlane);
        assert_eq!(seen.take(&[counter(1, 5), counter(2, 3)]).get(&key), Some(&8));
        assert_eq!(seen.take(&[counter(1, 6)]).get(&key), Some(&1));
        assert_eq!(seen.take(&[counter(1, 6), counter(3, 2)]).get(&key), Some(&2));
    }
}
