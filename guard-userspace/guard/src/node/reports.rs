//! The kernel's reports of refusals: a log line each, within bounds, and an event on the pod.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use guard_common::{Hook, Reason, Report};
use guard_identity::WorkloadId;
use guard_kernel::kernel::Reports;
use guard_telemetry::Metrics;

use super::events::{Events, Note};
use super::registry::{Enrolled, Registry};

/// Log lines of one workload in [`WINDOW`]. What is more is counted by the kernel, and in the next line.
const MAX_LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Pause after reports could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Workloads whose log lines are bounded apart.
const MAX_WORKLOADS: usize = 4096;

/// How long after a proof its gate tries what it must find refused.
const TRIAL: Duration = Duration::from_secs(30);

/// Proofs to one workload of which the trials are taken for its gate's. A gate that passes needs one; an agent that asks for more hides
/// nothing by it.
const MAX_PROOFS: u32 = 10;

/// What the guard itself made the kernel refuse, or told a gate to try: no bypass attempts.
#[derive(Default)]
pub(super) struct Expected {
    trials: Mutex<HashMap<(WorkloadId, SocketAddr), Vec<Instant>>>,
    proofs: Mutex<HashMap<WorkloadId, u32>>,
}

/// Reads the reports.
pub(super) struct Reporter {
    pub(super) registry: Arc<Registry>,
    pub(super) expected: Arc<Expected>,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
}

/// Bounds the log lines of each workload.
#[derive(Default)]
struct Lines(HashMap<u64, Window>);

struct Window {
    start: Instant,
    lines: u32,
    left_out: u64,
}

impl Expected {
    /// Whether the next proof to this workload may still be for its gate.
    pub(super) fn admits_proof(&self, workload: WorkloadId) -> bool {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if proofs.len() >= MAX_WORKLOADS {
            proofs.clear();
        }
        let count = proofs.entry(workload).or_default();
        *count = count.saturating_add(1);
        *count <= MAX_PROOFS
    }

    /// `times` refusals on the way to this address are the guard's own doing.
    pub(super) fn add(&self, workload: WorkloadId, address: SocketAddr, times: usize) {
        let mut expected = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        expected.retain(|_, until| until.iter().any(|until| *until > now));
        // No more than one proof's worth: who asks for proof after proof hides nothing.
        expected.insert((workload, address), vec![now + TRIAL; times]);
    }

    fn take(&self, workload: WorkloadId, address: SocketAddr) -> bool {
        let mut expected = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        expected.get_mut(&(workload, address)).and_then(Vec::pop).is_some_and(|until| until > now)
    }
}

impl Reporter {
    /// Reads until dropped. Refusals are counted by the kernel, whether or not their reports can be read.
    pub(super) async fn run(self, reports: Reports) -> std::io::Result<()> {
        let mut reports = reports.into_async()?;
        let mut lines = Lines::default();
        loop {
            match reports.next().await {
                Ok(report) => self.report(&report, &mut lines),
                Err(error) => {
                    tracing::warn!(%error, "the kernel's reports can't be read; tried again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn report(&self, report: &Report, lines: &mut Lines) {
        let id = WorkloadId(report.workload);
        let to = SocketAddr::new(Ipv6Addr::from(report.destination.0).to_canonical(), report.port);
        let gate = self.expected.take(id, to);
        let hook = Hook::from_number(report.hook).map_or("unknown", Hook::name);
        let reason = Reason::from_number(report.reason).map_or("unknown", Reason::name);
        let protocol = protocol(report.protocol);
        let enrolled = self.registry.get(id);
        if gate {
            tracing::info!(workload = report.workload, hook, reason, %to, protocol, "refused by the kernel, as a gate expects");
            return;
        }
        if let Some(left_out) = lines.admit(report.workload, Instant::now()) {
            let pod = enrolled.as_ref().map(|enrolled| enrolled.pod.to_string());
            let uid = enrolled.as_ref().map(|enrolled| enrolled.pod.uid.as_str());
            tracing::warn!(pod, uid, workload = report.workload, hook, reason, %to, protocol, left_out, "refused by the kernel");
        }
        let Some(enrolled) = enrolled.filter(|enrolled| is_attempt(report, enrolled)) else { return };
        self.metrics.bypass_attempts_total.inc();
        self.events.note(
            &enrolled.pod,
            Note::warning(
                "BypassAttempt",
                format!(
                    "The kernel refused {protocol} to {} ({hook}: {reason}). The only way from this pod to the control plane is HTTPS to the \
                     Kubernetes API server, which the guard serves; if the pod needs something else there, it is no agent's work.",
                    destination(to)
                ),
            ),
        );
    }
}

impl Lines {
    /// Whether a line may be written, and how many were left out before it.
    fn admit(&mut self, workload: u64, now: Instant) -> Option<u64> {
        let is_over = |window: &Window| now.duration_since(window.start) >= WINDOW;
        if self.0.len() >= MAX_WORKLOADS {
            self.0.retain(|_, window| !is_over(window));
        }
        let window = self.0.entry(workload).or_insert(Window { start: now, lines: 0, left_out: 0 });
        if is_over(window) {
            (window.start, window.lines) = (now, 0);
        }
        if window.lines >= MAX_LINES {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

/// Whether the workload tried to go round the guard. Who comes before the listener is there has taken the guard's way, too early: a gate does.
/// Later on, only who left the pod's network namespace misses it.
fn is_attempt(report: &Report, by: &Enrolled) -> bool {
    Reason::from_number(report.reason) != Some(Reason::NoListener) || by.was_served(report.boot_time_nanoseconds)
}

/// The kernel's own number where the name is not known; IANA's registry has them all.
fn protocol(number: u8) -> String {
    match number {
        0 => "a packet".to_owned(),
        1 => "ICMP".to_owned(),
        4 => "IPIP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        47 => "GRE".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        number => format!("protocol {number}"),
    }
}

fn destination(to: SocketAddr) -> String {
    match (to.ip(), to.port()) {
        (address, 0) if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => "an address that can't be told".to_owned(),
        (address, 0) => address.to_string(),
        _ => to.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use guard_common::Address;
    use guard_identity::{PodIdentity, PodUid};

    use super::*;

    #[test]
    fn an_agent_that_asks_for_proof_after_proof_hides_nothing_by_it() {
        let expected = Expected::default();
        let admitted = (0..100).filter(|_| expected.admits_proof(WorkloadId(1))).count();
        assert_eq!(admitted, 10);
        assert!(expected.admits_proof(WorkloadId(2)), "another workload's gate is not affected");
    }

    #[test]
    fn a_flood_makes_few_lines_and_says_how_many_are_missing() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        let written = (0..1000).filter(|_| lines.admit(1, start).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(lines.admit(2, start), Some(0), "another workload is not affected");
        assert_eq!(lines.admit(1, start + WINDOW), Some(980));
    }

    #[test]
    fn who_comes_before_the_listener_is_open_attempts_no_bypass() {
        let registry = Registry::default();
        let (id, uid) = (WorkloadId(1), "u".parse::<PodUid>().unwrap());
        let (namespace, name) = ("n".to_owned(), "p".to_owned());
        let pod =
            PodIdentity { namespace, name, uid: uid.clone(), service_account: "s".to_owned(), node: "n1".to_owned() };
        registry.add(id, pod, uid);
        let is_attempt = |reason: Reason, boot_time_nanoseconds| {
            let (hook, reason) = (Hook::Connect4 as u8, reason as u8);
            let destination = Address([0; 16]);
            let report = Report {
                boot_time_nanoseconds,
                workload: 1,
                destination,
                port: 443,
                protocol: 6,
                hook,
                reason,
                reserved: [0; 3],
            };
            super::is_attempt(&report, &registry.get(id).unwrap())
        };
        assert!(!is_attempt(Reason::NoListener, 1));
        assert!(is_attempt(Reason::ControlPlane, 1));
        registry.set_served(id);
        assert!(!is_attempt(Reason::NoListener, 1), "its report was still to be read");
        assert!(is_attempt(Reason::NoListener, u64::MAX), "from a network namespace of its own");
    }

    #[test]
    fn what_a_gate_tries_is_expected_as_often_as_it_tries_it() {
        let expected = Expected::default();
        let (workload, address) = (WorkloadId(1), "192.0.2.1:10250".parse().unwrap());
        for _ in 0..3 {
            expected.add(workload, address, 2);
        }
        assert!(expected.take(workload, address) && expected.take(workload, address));
        assert!(!expected.take(workload, address));
        assert!(!expected.take(WorkloadId(2), address));
    }
}
