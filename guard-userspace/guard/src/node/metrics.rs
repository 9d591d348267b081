//! What the node's parts know, as metrics: the kernel's counters, and how many agents are cut off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use guard_certificates::Serving;
use guard_common::{Hook, Reason};
use guard_kernel::Kernel;
use guard_kernel::kernel::Refusals as Counter;
use guard_telemetry::Metrics;

use super::enforcement::SharedKernel;
use super::policies::PolicyStatus;
use super::registry::Registry;

/// How old what is in the metrics may be.
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
        // There from the start: the two that a gate always causes. Of all the others, most can never be.
        for hook in [Hook::Sendmsg4, Hook::VethIngress] {
            metrics.refusals_total.with_label_values(&[hook.name(), Reason::ControlPlane.name()]);
        }
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

/// What is read from the guard's own state.
pub(super) struct Counts {
    pub(super) registry: Arc<Registry>,
    pub(super) certificate: Arc<Serving>,
    pub(super) policies: Arc<ArcSwap<PolicyStatus>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Counts {
    /// Until dropped.
    pub(super) async fn run(self) {
        loop {
            let (from, until) = self.certificate.validity().unwrap_or((UNIX_EPOCH, UNIX_EPOCH));
            self.metrics.certificate_start.set(unix(from));
            self.metrics.certificate_expiry.set(unix(until));
            let enrolled = i64::try_from(self.registry.len()).unwrap_or(i64::MAX);
            self.metrics.agents_cut_off.set(enrolled.saturating_sub(self.metrics.agents.get()).max(0));
            self.metrics.policies_accepted.set(i64::from(self.policies.load().error.is_none()));
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

fn unix(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
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
