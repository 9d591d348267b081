//! The guard ends, by whatever hand, and comes back; it is upgraded; control is away.

use guard_e2e::harness::{Held, Kubectl, Pod, PodPlan, RELEASE, Running, SOON, Seen, eventually, unique};

use crate::BED;
use crate::bed::{DRAIN, LONG, POLICY, agent};

/// What a client sees while nobody listens in its pod, or when who served it has died. None of it is an answer.
const CUT: [&str; 5] = ["refused", "reset", "unexpected end of file", "end of file", "silence"];

/// Requests failed for a while, in ways that a client knows from a server that restarts, and none was answered wrongly.
fn cut_off_for_a_while(seen: &Seen) {
    let requests = &seen.requests;
    assert!(requests.answers.keys().all(|answer| answer.contains(" 200 ")), "{requests:#?}");
    for error in requests.errors.keys() {
        assert!(CUT.iter().any(|known| error.contains(known)), "an agent is told {error:?}: {requests:#?}");
    }
    println!("{requests:?}");
}

#[test]
fn a_guard_that_is_killed_lets_nothing_pass_and_its_agents_are_served_by_the_next() {
    let _turn = BED.turn();
    let witnesses = BED.witnesses();
    let seen = witnesses.watch(&BED.installed, || {
        let before = BED.installed.guard_of(BED.node());
        before.kill();
        let after = BED.installed.guard_after(&before);
        assert_eq!(before.name(), after.name(), "the kubelet restarts the container");
        BED.served(&witnesses.agent);
    });
    cut_off_for_a_while(&seen);
    assert!(!seen.requests.errors.is_empty(), "a guard that is dead serves nobody: {:#?}", seen.requests);
}

#[test]
fn a_guard_that_runs_out_of_memory_lets_nothing_pass_and_its_agents_are_served_by_the_next() {
    let _turn = BED.turn();
    let witnesses = BED.witnesses();
    let seen = witnesses.watch(&BED.installed, || {
        let before = BED.installed.guard_of(BED.node());
        before.run_out_of_memory();
        BED.installed.guard_after(&before);
        BED.served(&witnesses.agent);
    });
    cut_off_for_a_while(&seen);
    assert!(!seen.requests.errors.is_empty(), "{:#?}", seen.requests);
}

#[test]
fn a_guards_pod_that_is_deleted_lets_nothing_pass_and_its_agents_are_served_by_the_next() {
    let _turn = BED.turn();
    let witnesses = BED.witnesses();
    let (target, mut exec) = entered();
    let seen = witnesses.watch(&BED.installed, || {
        let before = BED.installed.guard_of(BED.node());
        Kubectl::new(&BED.installed.cluster, RELEASE).run(["delete", "pod", before.name(), "--wait=false"]).ok();
        let after = BED.installed.guard_after(&before);
        assert_ne!(before.name(), after.name());
        BED.served(&witnesses.agent);
    });
    cut_off_for_a_while(&seen);
    // It did not keep all agents waiting for its own end.
    assert!(!exec.wait(SOON).status.success(), "the guard that it went through is gone");
    target.delete();
}

#[test]
fn an_upgrade_and_a_rollback_lose_no_request_and_exec_goes_on_through_both() {
    let _turn = BED.turn();
    let witnesses = BED.witnesses();
    let installed = &BED.installed;
    let (_target, mut exec) = entered();
    let seen = witnesses.watch(installed, || {
        let before = installed.guard_of(BED.node());
        let set = [POLICY, DRAIN, "node.podAnnotations.step=upgrade"];
        installed.apply(&set).ok();
        let upgraded = installed.guard_after(&before);
        assert_ne!(before.name(), upgraded.name());
        eventually("the older guard to drain", SOON, || {
            let pod = Kubectl::new(&installed.cluster, RELEASE).run(["get", "pod", before.name(), "-o", "yaml"]);
            if pod.out.contains("deletionTimestamp") { Ok(()) } else { Err(pod.out_and_err()) }
        });
        exec.write("in the drain\n");
        assert_eq!(exec.line(SOON), "in the drain", "exec goes on with the guard that it began with");
        exec.end_input();
        exec.wait(SOON).ok();
        installed.ready();
        installed.helm(["rollback", RELEASE]).ok();
        installed.ready();
        let back = installed.guard_of(BED.node());
        assert_ne!(upgraded.name(), back.name());
        eventually("the guard of the upgrade to be gone", LONG, || {
            let pod = Kubectl::new(&installed.cluster, RELEASE).run(["get", "pod", upgraded.name(), "-o", "name"]);
            if pod.status.success() { Err(pod.out) } else { Ok(()) }
        });
        BED.served(&witnesses.agent);
    });
    let (answered, slowest) = seen.nothing_noticed();
    println!("upgrade and rollback: {answered} requests, each on a new connection; the slowest took {slowest:.2} s");
}

#[test]
fn while_control_is_away_agents_are_served_and_new_ones_start() {
    let _turn = BED.turn();
    let witnesses = BED.witnesses();
    let control = Kubectl::new(&BED.installed.cluster, RELEASE);
    let scale = |replicas: &str| {
        control.run(["scale", "deployment", "egress-guard-control", "--replicas", replicas]).ok();
    };
    let seen = witnesses.watch(&BED.installed, || {
        scale("0");
        eventually("control to be away", SOON, || {
            let selector = "app.kubernetes.io/component=control";
            let pods = control.run(["get", "pods", "--selector", selector, "-o", "name"]).ok();
            if pods.is_empty() { Ok(()) } else { Err(pods) }
        });
        let new = BED.pod(agent(unique("without-control")).on(1));
        BED.served(&new);
    });
    scale("2");
    BED.installed.ready();
    seen.nothing_noticed();
}

#[test]
fn pods_that_come_and_go_leave_nothing_with_their_guard() {
    const AT_ONCE: usize = 4;
    let _turn = BED.turn();
    let before = settled();
    let plans: [_; AT_ONCE] = std::array::from_fn(|_| agent(unique("passing")).on(1));
    let pods = BED.pods(&plans);
    for pod in &pods {
        BED.served(pod);
        pod.probe("--limit 500 datagram --to 172.30.0.10:6443");
    }
    let now = BED.installed.guard_of(BED.node()).held(&BED.installed);
    for kind in ["pods pinned", "NETNS", "CGROUPS", "VETHS"] {
        assert_eq!(now[kind], before[kind] + AT_ONCE, "{kind}: {now:?}, before {before:?}");
    }
    pods.iter().for_each(Pod::delete);
    eventually("all of them to be forgotten", LONG, || {
        let now = BED.installed.guard_of(BED.node()).held(&BED.installed);
        // Connections to the API server come and go by themselves.
        let allowed = |kind: &str| if kind == "descriptors" { AT_ONCE - 1 } else { 0 };
        let more = now.iter().filter(|(kind, count)| **count > before[*kind] + allowed(kind)).count();
        if more == 0 { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    });
}

/// An exec by the agent into another pod: what is written to it comes back.
#[track_caller]
fn entered() -> (Pod, Running) {
    let target = BED.pod(PodPlan::ordinary(unique("entered")));
    let mut exec = BED.witnesses().agent.start(["kubectl", "exec", "-i", &target.name, "--", "cat"]);
    exec.write("before\n");
    assert_eq!(exec.line(SOON), "before");
    (target, exec)
}

/// What the second node's guard holds once nothing of an earlier case is left to it: one agent pod.
#[track_caller]
fn settled() -> Held {
    BED.served(&BED.witnesses().agent);
    eventually("the pods of earlier cases to be forgotten", LONG, || {
        let now = BED.installed.guard_of(BED.node()).held(&BED.installed);
        if now["pods pinned"] == 1 && now["NETNS"] == 1 { Ok(now) } else { Err(format!("{now:?}")) }
    })
}
