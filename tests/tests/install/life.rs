//! One installation from beginning to end, in the order that an administrator goes: each step stands on the one before it.

use std::time::{Duration, Instant};

use guard_e2e::harness::{Installed, Kubectl, RELEASE, SOON, Traces, eventually};
use serde_json::Value;
use xtask::cluster::Node;

use crate::agents::{Agent, Load};
use crate::{docs, turn, webhook};

#[test]
fn an_installation_holds_from_its_first_agent_to_its_last_trace() {
    let _turn = turn();
    let installed = Installed::prepare();
    let before = Traces::of(&installed);
    let [first, second] = installed.cluster.nodes.as_slice() else { panic!("this area needs two nodes") };

    let start = Instant::now();
    installed.apply(&[]).ok();
    let agent = Agent::labelled(&installed, "coder", first).ready(&installed);
    agent.exec(&["kubectl", "get", "configmaps", "-o", "name"]).ok();
    println!("from helm install to the first guarded request: {:.1} s", start.elapsed().as_secs_f32());
    installed.ready();

    let other = Agent::of_namespace(&installed, "tester", second).ready(&installed);
    agents_work_with_what_they_have(&agent);
    agents_work_with_what_they_have(&other);
    for agent in [&agent, &other] {
        agent.is_shut_in(&installed);
    }
    let talkative = installed.guard_on(first);
    log_level(&installed, "debug");
    helm_test_proves_each_node(&installed);
    the_doctor_finds_nothing_wrong(&installed);
    docs::the_documentation_holds(&installed, &agent);
    the_log_level_has_changed(&installed, first, &talkative);
    no_request_is_lost_in_an_upgrade_or_a_rollback(&installed, &agent);
    a_node_is_released_and_taken_back(&installed, &agent);
    agent.is_shut_in(&installed);
    an_uninstallation_that_would_strand_agents_is_refused(&installed);
    an_uninstallation_leaves_nothing(&installed, &before);
}

/// As docs/operations.md says. The kubelet carries it to the guards meanwhile.
fn log_level(installed: &Installed, level: &str) {
    let patch = serde_json::json!({"data": {"log": level}}).to_string();
    Kubectl::new(&installed.cluster, RELEASE)
        .run(["patch", "configmap", "egress-guard-node", "--type=merge", "--patch", &patch])
        .ok();
}

fn the_log_level_has_changed(installed: &Installed, node: &Node, guard: &str) {
    eventually("the guard to say that it logs more", SOON * 4, || {
        let said = Kubectl::new(&installed.cluster, RELEASE).run(["logs", guard, "--container=guard"]).ok();
        if said.contains(r#""filter":"debug""#) && said.contains(r#""level":"DEBUG""#) {
            Ok(())
        } else {
            Err("nothing")
        }
    });
    assert_eq!(installed.guard_on(node), guard, "no pod was made anew for it");
    log_level(installed, "");
}

/// kubectl as it comes, with its in-cluster configuration; and what the chart's baseline denies.
fn agents_work_with_what_they_have(agent: &Agent<'_>) {
    agent.exec(&["kubectl", "create", "configmap", "notes", "--from-literal=a=b"]).ok();
    let text = agent.exec(&["kubectl", "get", "configmap", "notes", "-o", "jsonpath={.data.a}"]).ok();
    assert_eq!(text, "b");
    // kubectl looks for the pod first, which is a read: it has to be there.
    let refused = agent.exec(&["sh", "-c", "kubectl exec \"$(hostname)\" -- true"]).refused();
    assert!(refused.contains("GuardPolicy \"baseline\""), "{refused}");
    // The token is worth nothing to the API server itself.
    let token = agent.exec(&["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"]).ok();
    let refused = agent
        .kubectl
        .run([
            "--kubeconfig=/dev/null",
            "--server=https://172.30.0.10:6443",
            "--insecure-skip-tls-verify",
            &format!("--token={}", token.trim()),
            "get",
            "configmaps",
        ])
        .refused();
    assert!(refused.contains("nauthorized") || refused.contains("logged in"), "{refused}");
}

fn helm_test_proves_each_node(installed: &Installed) {
    let said = installed.helm(["test", RELEASE, "--timeout", "6m"]);
    assert!(said.status.success(), "{}", said.out_and_err());
    let said = said.out_and_err();
    for node in &installed.cluster.nodes {
        assert!(said.contains(&format!("node {}: refused by the kernel", node.name)), "{said}");
    }
    assert!(said.contains("enforcement is proven on all 2 nodes"), "{said}");
}

fn the_doctor_finds_nothing_wrong(installed: &Installed) {
    for node in &installed.cluster.nodes {
        let said = installed.on(node, &["doctor", "--only=node", "--json"]);
        let report: Value =
            serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.clone().out_and_err()));
        assert_ne!(report["status"], "fail", "{}: {}", node.name, said.out);
        let of = |check: &str| {
            report["findings"].as_array().into_iter().flatten().find(|one| one["check"] == check).cloned()
        };
        assert_eq!(of("enforcement").expect("it is tried")["status"], "ok");
    }
    let doctor = |arguments: &[&str]| installed.guard_command(arguments);
    let said = doctor(&["doctor", "--only=cluster"]).ok();
    assert!(said.contains("each with its bindings") && said.contains("all ready"), "{said}");
    // A policy whose binding is gone is ignored in silence by the API server: not here.
    let binding = installed.kubectl.run(["get", "validatingadmissionpolicybindings", "-o", "name"]).ok();
    let binding = binding.lines().find(|name| name.contains("egress-guard")).expect("a binding").to_owned();
    let text = installed.kubectl.run(["get", &binding, "-o", "json"]).ok();
    installed.kubectl.run(["delete", &binding]).ok();
    let said = doctor(&["doctor", "--only=cluster"]).out_and_err();
    assert!(said.contains("without a binding") && said.contains("FAIL"), "{said}");
    let mut object: Value = serde_json::from_str(&text).expect("kubectl's JSON");
    object["metadata"]
        .as_object_mut()
        .expect("an object")
        .retain(|name, _| ["name", "labels", "annotations"].contains(&name.as_str()));
    installed.kubectl.apply(&object);
}

fn no_request_is_lost_in_an_upgrade_or_a_rollback(installed: &Installed, agent: &Agent<'_>) {
    let before = installed.guard_on(agent.node);
    let load = Load::start(agent);
    // Another way of admission, and of the CA: whoever runs already is as safe as it was.
    installed.install(&webhook::VALUES);
    let upgraded = installed.guard_on(agent.node);
    assert_ne!(before, upgraded);
    agent.is_shut_in(installed);
    let webhooked = webhook::makes_agents_safe(installed, agent.node);
    installed.helm(["rollback", RELEASE, "1"]).ok();
    installed.ready();
    assert_ne!(upgraded, installed.guard_on(agent.node));
    // The guard of before drains until its connections are done.
    std::thread::sleep(Duration::from_secs(3));
    let met = load.end(agent);
    println!(
        "upgrade and rollback: {} requests in {:.0} s, the slowest {:.2} s",
        met.answered,
        met.time.as_secs_f32(),
        met.slowest
    );
    assert!(met.answered > 20, "{} requests are no load", met.answered);
    webhooked.exec(&["kubectl", "get", "configmaps", "-o", "name"]).ok();
}

fn a_node_is_released_and_taken_back(installed: &Installed, agent: &Agent<'_>) {
    installed.on(agent.node, &["release", "--reason", "a storm"]).ok();
    let server = Some(installed.api_server_certificate());
    eventually("the API server to be reached", SOON, || {
        let found = agent.probe("connect --to 10.96.0.1:443");
        if found.peer_certificate_sha256 == server { Ok(()) } else { Err(format!("{found:?}")) }
    });
    eventually("an event on the node that says so", SOON, || {
        let events = Kubectl::new(&installed.cluster, "default")
            .run(["get", "events", "-o", "jsonpath={.items[*].message}"])
            .ok();
        if events.contains("a storm") { Ok(()) } else { Err(events) }
    });
    installed.on(agent.node, &["release", "--undo"]).ok();
    installed.ready();
    eventually("the agent to be guarded again", SOON, || {
        let found = agent.probe("connect --to 10.96.0.1:443");
        if found.peer_certificate_sha256.is_some() && found.peer_certificate_sha256 != server {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

fn an_uninstallation_that_would_strand_agents_is_refused(installed: &Installed) {
    let said = installed.helm(["uninstall", RELEASE]);
    assert!(!said.status.success(), "{}", said.out);
    let said = said.out_and_err();
    assert!(said.contains(&format!("{}/coder", installed.namespace)), "the agents are named: {said}");
    installed.helm(["status", RELEASE]).ok();
}

fn an_uninstallation_leaves_nothing(installed: &Installed, before: &Traces) {
    installed.kubectl.run(["annotate", "namespace", RELEASE, "egressguard.io/strand-agents=true"]).ok();
    let said = installed.helm(["uninstall", RELEASE, "--timeout", "6m"]);
    assert!(said.status.success(), "{}\n{}", said.out_and_err(), installed.said());
    println!("{}", said.out_and_err());
    let labelled = installed.labelled_namespace();
    for namespace in [RELEASE, &labelled] {
        installed.kubectl.run(["delete", "namespace", namespace]).ok();
    }
    let kept = installed.kubectl.run(["get", "customresourcedefinitions", "-o", "name"]).ok();
    assert!(kept.contains("guardpolicies.egressguard.io"), "crds.keep is the default: {kept}");
    installed
        .kubectl
        .run(["delete", "customresourcedefinition", "guardpolicies.egressguard.io", "guardnodes.egressguard.io"])
        .ok();
    eventually("every trace to be gone", Duration::from_mins(1), || {
        let left = Traces::of(installed).beyond(before);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}
