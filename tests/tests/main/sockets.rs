//! K5, K6: connections and sockets that enforcement did not see being made.

use std::fs;

use guard_common::{Hook, Reason};
use guard_e2e::finding::{Finding, Outcome};
use guard_e2e::harness::{Pod, PodPlan, Running, SOON, eventually, finding, unique};

use crate::WORLD;
use crate::table::{Control::Nobody, Guarded::Eperm, try_all};

/// For whoever is let through, in milliseconds on two busy cores.
const CONTROL_LIMIT: u32 = 10_000;
/// What is dropped stays silent for as long as one waits.
const AGENT_LIMIT: u32 = 3_000;

#[test]
fn connections_from_before_the_label_are_cut() {
    let [late, never] = WORLD.pods(&[PodPlan::late_agent("late"), PodPlan::late_agent("never-labelled")]);
    let open = |pod: &Pod, to: &str| {
        let mut old = pod.start_probe(&format!("--limit {CONTROL_LIMIT} old --to {to}"));
        old.line_with("ready", SOON);
        old
    };
    let addresses = ["172.30.0.10:6443", "10.96.0.1:443", "[fd00:30::10]:6443"];
    let mut cut: Vec<_> = addresses.iter().map(|to| open(&late, to)).collect();
    let mut kept = open(&never, "10.96.0.1:443");

    WORLD.kubectl.run(["label", "pod", &late.name, "egressguard.io/agent=chatgpt"]).ok();
    eventually("a late agent to be guarded", SOON, || {
        let found = late.probe("connect --to 10.96.0.1:443");
        if WORLD.is_guard(&found) { Ok(()) } else { Err(format!("{found:?}")) }
    });

    for (to, old) in addresses.iter().zip(&mut cut) {
        let found = go_on(old);
        assert!(matches!(found.outcome, Outcome::Refused | Outcome::Silent), "{to}: {found:?}");
    }
    let found = go_on(&mut kept);
    assert!(WORLD.is_api_server(&found) && found.answer.is_some(), "{found:?}");
}

#[test]
fn a_network_namespace_made_in_the_pod_leads_nowhere() {
    let way = "connect --to 10.96.0.1:443 --way fresh-netns";
    try_all(&WORLD.ring.enter(), &[(way, Nobody, Eperm(Hook::Connect4, Reason::NoListener))]);
}

#[test]
fn a_socket_passed_in_from_another_cgroup_ends_at_the_veth() {
    let arena = WORLD.ring.enter();
    let borrowed = |pod: &Pod, limit: u32| {
        let name = unique("/tmp/lent");
        // Made in the pod's network by a process of the machine, so that no hook of the pod's cgroup serves it.
        let outside = format!("/proc/{}/root{name}", pod.process());
        let mut lender =
            WORLD.probe_command(&pod.netns(), &format!("--limit {limit} lend --to 10.96.0.1:443 --at {outside}"));
        let _lender = Running::start(&mut lender);
        pod.probe(&format!("--limit {limit} borrow --to 10.96.0.1:443 --at {name}"))
    };
    let found = borrowed(&arena.ordinary, CONTROL_LIMIT);
    assert!(WORLD.is_api_server(&found), "{found:?}");
    assert_ends_at_the_veth(&arena.agent, || borrowed(&arena.agent, AGENT_LIMIT));
}

#[test]
fn a_process_moved_to_another_cgroup_ends_at_the_veth() {
    let arena = WORLD.ring.enter();
    let elsewhere = arena.agent.node.daemons_cgroup.join(unique("e2e-elsewhere"));
    fs::create_dir_all(&elsewhere).unwrap();
    let moved = |pod: &Pod, limit: u32| {
        let mut probe = pod.start_probe(&format!("--wait --limit {limit} connect --to 10.96.0.1:443"));
        let ready = probe.line_with("ready", SOON);
        let inside = ready.trim_start_matches("ready ");
        fs::write(elsewhere.join("cgroup.procs"), on_the_machine(pod, inside).to_string()).unwrap();
        go_on(&mut probe)
    };
    let found = moved(&arena.ordinary, CONTROL_LIMIT);
    assert!(WORLD.is_api_server(&found), "{found:?}");
    assert_ends_at_the_veth(&arena.agent, || moved(&arena.agent, AGENT_LIMIT));
}

#[track_caller]
fn assert_ends_at_the_veth(agent: &Pod, attempt: impl FnOnce() -> Finding) {
    let pins = &WORLD.guard_of(agent).pins;
    let before = agent.refusals(pins);
    let found = attempt();
    assert_eq!(found.outcome, Outcome::Silent, "{found:?}");
    let counted = agent.refusals(pins).since(&before);
    assert!(counted.contains_key(&(Hook::VethIngress, Reason::ControlPlane)), "{counted:?}");
}

/// Lets a probe that waits go on, and returns what it finds.
#[track_caller]
fn go_on(probe: &mut Running) -> Finding {
    probe.write("\n");
    finding(&probe.wait(SOON).out)
}

/// The machine's number of the process that has this number in its pod.
#[track_caller]
fn on_the_machine(pod: &Pod, inside: &str) -> u32 {
    let is_it = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find(|line| line.starts_with("NSpid:")).unwrap_or_default().to_owned();
        numbers.split_whitespace().last() == Some(inside)
    };
    pod.processes().into_iter().find(is_it).unwrap_or_else(|| panic!("no process of {} is {inside}", pod.name))
}
