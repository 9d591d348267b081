//! K10 to K12: the guard dies and comes back, addresses change, pods come and go.
//!
//! On the second node, one test at a time: each may end its guard.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use guard_common::{Hook, Reason};
use guard_e2e::finding::Outcome;
use guard_e2e::harness::{Agent, Guard, Kubectl, NodeNetns, Pod, PodPlan, SOON, Statistics, eventually, unique};
use serde_json::json;

use crate::WORLD;
use crate::listener::port_of;

static TURN: Mutex<()> = Mutex::new(());

/// The second node's guard, for one test at a time.
pub(crate) fn turn() -> (MutexGuard<'static, ()>, &'static Guard) {
    // A test that failed has left nothing that the next one couldn't bear.
    (TURN.lock().unwrap_or_else(PoisonError::into_inner), &WORLD.guards[1])
}

fn agent(name: &str) -> Pod {
    WORLD.pod(PodPlan::agent(unique(name), Agent("chatgpt")).armed().on(1))
}

#[test]
fn nothing_passes_while_the_guard_is_dead_and_all_works_when_it_is_back() {
    let (_turn, guard) = turn();
    let [agent, ordinary] = WORLD.pods(&[
        PodPlan::agent(unique("orphan"), Agent("chatgpt")).armed().on(1),
        PodPlan::ordinary(unique("bystander")).armed().on(1),
    ]);
    let name = unique("watched");
    WORLD.kubectl.run(["create", "configmap", &name, "--from-literal=v=0"]).ok();
    let mut watch = agent.start(["kubectl", "get", "configmap", &name, "--watch", "-o", r"jsonpath={.data.v}{'\n'}"]);
    assert_eq!(watch.line(SOON), "0");
    let port = port_of(&agent);

    let before = agent.refusals(&guard.pins);
    guard.kill();
    let audit = WORLD.audit();
    watch.wait(SOON);
    let ways = [
        "connect --to 10.96.0.1:443",
        "connect --to 172.30.0.10:6443",
        "connect --to [fd00:10:96::1]:443",
        "connect --to 10.96.0.1:443 --way fast-open",
        "connect --to 10.96.0.1:443 --way io-uring",
        "connect --to 10.96.0.1:443 --way multipath",
        "packet --to 172.30.0.10:6443",
        "packet --to [fd00:30::10]:6443",
        "packet --to 10.96.0.1:443 --carrier tx-ring",
        "packet --to 172.30.0.10:6443 --carrier raw-ip",
        "packet --to 172.30.0.10:6443 --dressing fragments",
        "connect --to 172.30.0.12:10250",
    ];
    for way in ways {
        let found = agent.probe(&format!("--limit 800 {way} --speak https"));
        assert!(matches!(found.outcome, Outcome::Refused | Outcome::Silent), "{found:?}");
    }
    let found = agent.probe("--limit 800 datagram --to 172.30.0.10:6443");
    assert_eq!(found.outcome, Outcome::Refused, "{found:?}");
    // The listener's port is free now, and yet nobody else's.
    let found = agent.probe(&format!("bind --port {port} --at both --how reuse-port"));
    assert_eq!(found.outcome, Outcome::Refused, "{found:?}");
    // Positive control: the same asks go through from the pod beside it, and are in the audit log.
    let found = ordinary.probe("--limit 10000 packet --to 172.30.0.10:6443 --speak https");
    assert!(WORLD.is_api_server(&found) && found.answer.is_some(), "{found:?}");
    let of = |pod: &Pod| pod.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    audit.wait_for("the ordinary pod's request", |event| {
        event.source_ips.iter().any(|source| of(&ordinary).contains(source))
    });
    let passed =
        audit.events().into_iter().find(|event| event.source_ips.iter().any(|source| of(&agent).contains(source)));
    assert!(passed.is_none(), "{passed:?}");
    assert!(agent.refusals(&guard.pins).since(&before).len() >= 4, "refusals are counted without a guard");

    guard.start();
    eventually("the agent to be served again", SOON, || {
        let answer = agent.exec(["kubectl", "get", "configmap", &name, "-o", "name"]);
        if answer.status.success() { Ok(()) } else { Err(answer.err) }
    });
}

#[test]
fn every_refusal_is_counted_though_nobody_reads_the_reports() {
    const TIMES: u64 = 20_000;
    let (_turn, guard) = turn();
    let agent = agent("flooding");
    let counted = || agent.refusals(&guard.pins).of(Hook::Sendmsg4, Reason::ControlPlane);
    let lost = || guard.metrics().sum("guard_reports_lost_total", &[]);
    let (before, lost_before) = (counted(), lost());
    guard.freeze(true);
    let found = agent.probe(&format!("flood --to 172.30.0.10:6443 --times {TIMES}"));
    let refused = counted() - before;
    guard.freeze(false);
    assert_eq!(found.answer, Some(TIMES.to_string()));
    assert_eq!(refused, TIMES);
    // The ring buffer holds some 5,000 reports; what found it full is counted.
    eventually("the lost reports in the metrics", SOON, || {
        let now = lost() - lost_before;
        if now > 10_000.0 { Ok(()) } else { Err(now) }
    });
}

#[test]
fn a_new_endpoint_of_the_api_server_is_followed() {
    let (_turn, _) = turn();
    let agent = agent("follower");
    let control_plane = WORLD.control_plane();
    control_plane.sh("ip addr replace 172.30.0.201/24 dev fabric");
    let way = "connect --to 172.30.0.201:6443";
    let found = agent.probe(way);
    assert!(WORLD.is_api_server(&found), "positive control: nobody has named this address yet: {found:?}");
    let name = unique("second-api-server");
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["172.30.0.201"], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    });
    Kubectl::new(&WORLD.cluster, "default").apply(&slice);
    eventually("the new endpoint to lead to the guard", SOON, || {
        let found = agent.probe(way);
        if WORLD.is_guard(&found) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    let found = agent.probe("connect --to 172.30.0.10:6443");
    assert!(WORLD.is_guard(&found), "the old one is in the set as before: {found:?}");
    WORLD.kubectl.run(["--namespace=default", "delete", "endpointslice", &name]).ok();
    eventually("the address to be forgotten", SOON, || {
        let found = agent.probe(way);
        if WORLD.is_api_server(&found) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    control_plane.sh("ip addr del 172.30.0.201/24 dev fabric");
}

#[test]
fn a_deleted_pod_leaves_nothing_behind() {
    let (_turn, guard) = turn();
    let pod = agent("transient");
    let node = NodeNetns::new(&pod.node.netns);
    pod.probe("connect --to 172.30.0.12:10250");
    let pins = || {
        let folders = fs::read_dir(guard.pins.join("v1/pods")).unwrap().flatten();
        folders.filter(|pin| pin.file_name().to_string_lossy().starts_with(&pod.uid)).count()
    };
    let workload = pod.workload();
    let counters = || guard_e2e::harness::Counters::read(&guard.pins, workload);
    assert_eq!(pins(), 1);
    assert_ne!(counters(), guard_e2e::harness::Counters::default());
    let agents = guard.metrics().sum("guard_agents", &[]);
    // `eth0@if7`: number 7 is the other end, on the node.
    let own = pod.netns().sh("ip -o link show eth0");
    let peer = own.split("@if").nth(1).and_then(|rest| rest.split(':').next()).expect("eth0 is a veth").to_owned();
    let veth = || node.sh(&format!("ip -o link show type veth | grep ^{peer}: || true"));
    assert!(!veth().is_empty(), "{own}");
    pod.delete();
    eventually("the pod's pins to be gone", SOON, || if pins() == 0 { Ok(()) } else { Err(pins()) });
    eventually("its counters to be gone", SOON, || {
        if counters() == guard_e2e::harness::Counters::default() { Ok(()) } else { Err(format!("{:?}", counters())) }
    });
    eventually("it to be no agent any more", SOON, || {
        let now = guard.metrics().sum("guard_agents", &[]);
        if now < agents { Ok(()) } else { Err(now) }
    });
    eventually("its veth to be gone", SOON, || if veth().is_empty() { Ok(()) } else { Err(veth()) });
}

#[test]
fn an_ordinary_pod_runs_not_one_instruction_of_the_guard() {
    let (_turn, guard) = turn();
    let statistics = Statistics::on();
    eventually("earlier agents of this node to be gone", SOON, || {
        let agents = guard.metrics().sum("guard_agents", &[]);
        if agents < 0.5 { Ok(()) } else { Err(agents) }
    });
    let [agent, ordinary] = WORLD.pods(&[
        PodPlan::agent(unique("still"), Agent("chatgpt")).armed().on(1),
        PodPlan::ordinary(unique("busy")).armed().on(1),
    ]);
    // An agent that is there, and says nothing: all that is counted now would be the other's.
    agent.netns().sh("ip link set eth0 down");
    let before = statistics.runs(guard);
    assert!(before.len() >= 10, "{before:?}");
    for way in [
        "connect --to 10.96.0.1:443",
        "connect --to [fd00:30::10]:6443",
        "datagram --to 172.30.0.10:6443",
        "bind --port 5555 --at both",
        "packet --to 172.30.0.10:6443",
    ] {
        ordinary.probe(&format!("--limit 2000 {way}"));
    }
    let after = statistics.runs(guard);
    assert_eq!(after, before);
    // Positive control: the agent's do count.
    agent.probe("--limit 500 datagram --to 172.30.0.10:6443");
    agent.probe("--limit 500 connect --to 10.96.0.1:443");
    assert_ne!(statistics.runs(guard), before);
}

#[test]
fn a_pod_in_the_nodes_network_that_is_labelled_does_not_close_the_node() {
    let (_turn, guard) = turn();
    let plan = PodPlan::ordinary(unique("on-the-node")).host_network().on(1);
    let pod = WORLD.pod(plan);
    WORLD.kubectl.run(["label", "pod", &pod.name, "egressguard.io/agent=chatgpt"]).ok();
    eventually("an event that says why it is not guarded", SOON, || {
        let selector = format!("involvedObject.uid={},type=Warning", pod.uid);
        let messages = WORLD
            .kubectl
            .run(["get", "events", "--field-selector", &selector, "-o", "jsonpath={.items[*].message}"])
            .ok();
        if messages.contains("network") { Ok(()) } else { Err(messages) }
    });
    // The node's own business goes on: its kubelet starts a pod, and its guard an agent.
    let other = agent("after-that");
    assert!(WORLD.is_guard(&other.probe("connect --to 10.96.0.1:443")));
    let node = NodeNetns::new(&guard.node.netns);
    assert!(WORLD.is_api_server(&WORLD.probe_in(&node, "connect --to 172.30.0.10:6443")));
}
