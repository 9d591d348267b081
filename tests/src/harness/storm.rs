//! Two pods that try to reach the control plane all the time, while something happens to the node: an agent, from which nothing may pass
//! but through the guard, and an ordinary pod, which must not notice.

use std::time::Duration;

use super::{AuditLog, Installed, Pod, Running, finding};
use crate::probe::storm::{Tallies, Tally};

/// As a client of the agent's asks.
const AS_POD: &str = "connect --to 10.96.0.1:443 --speak as-pod";
/// To the API server by TCP, as it is asked for.
const CONNECTS: [&str; 2] =
    ["connect --to 172.30.0.10:6443 --speak https", "connect --to [fd00:30::10]:6443 --way fast-open --speak https"];
/// On raw frames, by a stack of the probe's own. Not from an ordinary pod: what is answered to them, the pod's kernel resets, and with it a
/// connection of another try that happens to have the same port.
const PACKETS: &str = "packet --to 172.30.0.10:6443 --speak https";
/// What is refused to an agent whoever is there.
const REFUSED: [&str; 2] = ["datagram --to 172.30.0.10:6443", "connect --to 172.30.0.11:10250"];
/// Longest try: an agent's end in silence, those of an ordinary pod must not.
const LIMITS: [&str; 2] = ["2000", "30000"];
/// Longer than any event.
const LONG: Duration = Duration::from_mins(5);

/// Tries that go on beside the test, in one pod.
pub struct Storm(Running);

/// The two pods.
pub struct Witnesses {
    /// Under guard.
    pub agent: Pod,
    /// Beside it on the same node.
    pub ordinary: Pod,
}

/// What came of the tries while something happened.
pub struct Seen {
    /// The agent's requests with its own token.
    pub requests: Tally,
    /// All of the agent's.
    pub agent: Tallies,
}

impl Storm {
    /// Begins in a pod: these ways, each try for at most so many milliseconds.
    #[track_caller]
    pub fn over<'a>(pod: &Pod, limit: &str, ways: impl IntoIterator<Item = &'a str>) -> Self {
        let ways = ways.into_iter().flat_map(|way| ["--way", way]);
        let mut running =
            pod.start_inside(["/bin/probe", "storm", "--pause", "150", "--limit", limit].into_iter().chain(ways));
        running.line_with("ready", Duration::from_mins(1));
        Self(running)
    }

    /// Ends it.
    #[track_caller]
    pub fn end(mut self) -> Tallies {
        let found = finding(&self.0.wait(LONG).ok());
        let answer = found.answer.as_ref().unwrap_or_else(|| panic!("the probe has failed: {found:?}"));
        serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Witnesses {
    /// Tries all the time that `event` takes, and holds that nothing of the agent's met the API server itself, and that nothing of the other's failed.
    #[track_caller]
    pub fn watch(&self, installed: &Installed, event: impl FnOnce()) -> Seen {
        let audit = AuditLog::from_now(&installed.cluster.audit_log);
        let [of_agent, of_ordinary] = LIMITS;
        let ordinary = Storm::over(&self.ordinary, of_ordinary, CONNECTS);
        let agent = Storm::over(&self.agent, of_agent, [AS_POD, PACKETS].into_iter().chain(CONNECTS).chain(REFUSED));
        event();
        let agent = agent.end();
        let ordinary = ordinary.end();
        let api_server = installed.api_server_certificate();
        for (way, tally) in &agent {
            assert!(tally.tries() > 0, "no try at all: {way}");
            assert!(!tally.met.contains_key(&api_server), "the agent met the API server by {way}: {agent:#?}");
            if REFUSED.contains(&way.as_str()) || way == PACKETS {
                assert_eq!(tally.met_anybody(), 0, "the agent met somebody by {way}: {agent:#?}");
            }
        }
        for way in CONNECTS {
            let tally = &ordinary[way];
            assert!(tally.met_anybody() > 0 && tally.errors.is_empty(), "the ordinary pod, by {way}: {ordinary:#?}");
            assert!(tally.met.keys().all(|met| *met == api_server), "the ordinary pod was guarded: {ordinary:#?}");
        }
        let from = |pod: &Pod| {
            let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
            audit.events().into_iter().find(|event| event.source_ips.iter().any(|source| addresses.contains(source)))
        };
        assert!(from(&self.ordinary).is_some(), "the ordinary pod's requests are in the audit log");
        let passed = from(&self.agent);
        assert!(passed.is_none(), "{passed:?}");
        Seen { requests: agent[AS_POD].clone(), agent }
    }
}

impl Seen {
    /// Each of the agent's requests was answered as if nothing had happened. Returns their number and the slowest, in seconds.
    #[track_caller]
    pub fn nothing_noticed(&self) -> (u64, f32) {
        let requests = &self.requests;
        assert!(requests.errors.is_empty() && requests.met_anybody() > 5, "{requests:#?}");
        assert!(requests.answers.keys().all(|answer| answer.contains(" 200 ")), "{requests:#?}");
        (requests.met_anybody(), Duration::from_millis(requests.slowest).as_secs_f32())
    }
}
