//! Control comes, dies, and is away.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use guard_e2e::harness::{Agent, PodPlan, SOON, eventually, unique};

use crate::BED;

const REQUEST: &str = "kubectl get namespace default -o name";

#[test]
fn a_node_new_to_the_cluster_waits_for_its_certificate_and_its_agents_gates_with_it() {
    assert!(BED.before.contains("503") && BED.before.contains("guard control"), "{}", BED.before);
    assert!(BED.event_before.contains("no valid certificate"), "{}", BED.event_before);
    assert_eq!(BED.first_agent.sh(REQUEST).ok().trim(), "namespace/default");
}

#[test]
fn the_key_of_a_node_is_readable_by_root_alone_and_by_no_object_of_the_cluster() {
    let folder = BED.folder.join("certificates-n1");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it is kept").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("serving.pem"))), (0o700, 0o600));
    let requests = BED.kubectl.run(["get", "certificatesigningrequests", "-o", "yaml"]).ok();
    assert!(!requests.contains("PRIVATE KEY"));
}

#[test]
fn when_the_leading_control_dies_the_other_signs() {
    let _turn = BED.turn();
    let leader = BED.leader();
    let other = BED.controls.iter().find(|control| control.name != leader.name).expect("there are two");
    leader.kill();
    eventually("the other to lead", SOON, || {
        let page = other.ask("/metrics");
        if page.contains("guard_control_leader 1") { Ok(()) } else { Err(page) }
    });
    // A node that has lost its leaf asks for one, and gets it.
    let guard = &BED.guards[1];
    guard.kill();
    fs::remove_dir_all(BED.folder.join("certificates-n2")).expect("the node kept its leaf");
    guard.start();
    leader.start();
}

#[test]
fn without_control_a_restarted_node_serves_on() {
    let _turn = BED.turn();
    let pod = BED.pod(PodPlan::agent(unique("without-control"), Agent("ci-bot")).on(1));
    BED.controls.iter().for_each(crate::bed::Control::kill);
    let guard = &BED.guards[1];
    guard.kill();
    guard.start();
    eventually("a request through the restarted guard", SOON, || {
        let answer = pod.sh(REQUEST);
        if answer.status.success() { Ok(()) } else { Err(answer.err) }
    });
    // And so does a pod that is made now.
    let new = BED.pod(PodPlan::agent(unique("new"), Agent("ci-bot")).on(1));
    assert_eq!(new.sh(REQUEST).ok().trim(), "namespace/default");
    BED.controls.iter().for_each(crate::bed::Control::start);
    let leader = BED.leader();
    eventually("a leader again", SOON, || {
        let page = leader.ask("/metrics");
        if page.contains("guard_control_leader 1") { Ok(()) } else { Err(page) }
    });
}
