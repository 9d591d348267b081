//! Another tool on the node at what is the guard's: what it removes comes back by itself, and the log says so.

use std::fs;
use std::path::PathBuf;

use guard_e2e::finding::Outcome;
use guard_e2e::harness::{Agent, Guard, NodeNetns, Pod, PodPlan, SOON, eventually, unique};

use crate::WORLD;
use crate::life::turn;

#[test]
fn what_another_tool_removes_comes_back_by_itself() {
    let (_turn, guard) = turn();
    let agent = WORLD.pod(PodPlan::agent(unique("tampered"), Agent("chatgpt")).armed().on(1));
    let node = NodeNetns::new(&guard.node.netns);
    let raw = "--limit 1500 packet --to 172.30.0.10:6443";
    let local = "--limit 1500 connect --to 10.244.2.1:10250";
    for way in [raw, local] {
        assert_eq!(agent.probe(way).outcome, Outcome::Silent, "{way}");
    }

    let log = guard.log_length();
    guard.freeze(true);
    remove_program(&agent, guard, &node);
    node.sh("nft delete table inet egress_guard");
    // Positive control: nothing else stood in the way.
    let found = agent.probe("--limit 10000 packet --to 172.30.0.10:6443");
    let behind = agent.probe("--limit 10000 connect --to 10.244.2.1:10250");
    guard.freeze(false);
    assert!(WORLD.is_api_server(&found), "{found:?}");
    assert_eq!(behind.outcome, Outcome::Met, "{behind:?}");

    for way in [raw, local] {
        eventually(&format!("{way} to be dropped again"), SOON, || {
            let found = agent.probe(way);
            if found.outcome == Outcome::Silent { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }
    let lines: Vec<String> = guard.log_since(log).iter().map(ToString::to_string).collect();
    for said in ["the guard's nft table; it is back", "the guard's program from the pod's veth"] {
        assert!(lines.iter().any(|line| line.contains(said) && line.contains("WARN")), "{said}: {lines:#?}");
    }
    assert!(WORLD.is_guard(&agent.probe("connect --to 10.96.0.1:443")));
}

/// As its administrator would: the link's pin, or the qdisc where there is no tcx.
#[track_caller]
fn remove_program(agent: &Pod, guard: &Guard, node: &NodeNetns) {
    let folder = guard.pins.join(format!("v1/pods/{}_{}", agent.uid, agent.workload()));
    let pins = fs::read_dir(folder).expect("the pod's pins").flatten().map(|pin| pin.path());
    let is_of_veth = |pin: &PathBuf| pin.to_string_lossy().contains("guard_veth_ingress");
    if let Some(pin) = pins.into_iter().find(is_of_veth) {
        fs::remove_file(pin).expect("removing a pin");
        return;
    }
    let interface = agent.netns().sh("ip -o link show eth0");
    let index = interface.split("@if").nth(1).and_then(|rest| rest.split(':').next()).expect("a veth");
    let on_node = node.sh(&format!("ip -o link | grep ^{index}:"));
    let name = on_node.split([' ', '@']).nth(1).expect("a name");
    node.sh(&format!("tc qdisc del dev {name} clsact"));
}
