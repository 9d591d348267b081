//! What nodes tell of themselves.

use guard_e2e::harness::{Agent, NodeNetns, PodPlan, SOON, eventually, unique};

use crate::BED;

#[test]
fn kubectl_get_guardnodes_shows_each_node_and_its_state() {
    let _turn = BED.turn();
    let table = eventually("both nodes to be ready", SOON, || {
        let table = BED.kubectl.run(["get", "guardnodes"]).ok();
        let ready = table.lines().skip(1).filter(|line| line.split_whitespace().nth(1) == Some("True")).count();
        if ready == 2 { Ok(table) } else { Err(table) }
    });
    println!("{table}");
    for column in ["READY", "AGENTS", "VERSION", "ENFORCEMENT", "POLICIES", "CERTIFICATE UNTIL", "LAST SEEN"] {
        assert!(table.contains(column), "{table}");
    }
    let object = BED.kubectl.get("guardnode", "n1");
    assert_eq!(object["metadata"]["ownerReferences"][0]["kind"], "Node");
    for kind in ["Ready", "CertificateValid", "PolicyAccepted"] {
        let conditions = object["status"]["conditions"].as_array().expect("conditions");
        assert!(conditions.iter().any(|one| one["type"] == kind && one["status"] == "True"), "{kind}: {conditions:?}");
    }
    let leader = BED.leader();
    eventually("the sums", SOON, || {
        let page = leader.ask("/metrics");
        if page.contains("guard_nodes{state=\"ready\"} 2") { Ok(()) } else { Err(page) }
    });
}

#[test]
fn an_address_that_only_the_node_itself_knows_of_is_closed_on_other_nodes() {
    let _turn = BED.turn();
    let second = "198.51.100.77";
    let other = NodeNetns::new(&BED.cluster.nodes[1].netns);
    other.sh(&format!(
        "ip link add second type bridge 2>/dev/null; ip link set second up; ip addr replace {second}/32 dev second"
    ));
    let pod = BED.pod(PodPlan::agent(unique("far"), Agent("ci-bot")));
    eventually("the kubelet's port at that address to be refused", SOON, || {
        let finding = pod.probe(&format!("connect --to {second}:10250"));
        let said = format!("{finding:?}");
        if said.contains("Eperm") || said.contains("EPERM") || said.contains("not permitted") {
            Ok(())
        } else {
            Err(said)
        }
    });
    other.sh("ip link del second");
}
