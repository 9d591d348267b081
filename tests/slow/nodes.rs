//! A node loses its power and comes back, with what its kernel knew and without; fifty agents on one node.

use std::fs;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use guard_e2e::harness::{AuditLog, Installed, Pod, eventually};
use serde_json::{Value, json};
use xtask::cluster::Node;
use xtask::images;

/// A node that starts, or fifty pods that do, on two busy cores.
const LONG: Duration = Duration::from_mins(10);
const AGENTS: usize = 50;
/// What the guard may hold with so many agents.
const MEMORY: u64 = 150 << 20;

static INSTALLED: LazyLock<Installed> = LazyLock::new(|| Installed::with_agents(&[]));
static TURN: Mutex<()> = Mutex::new(());

/// Asks whatever answers at the API server's addresses from its first moment on, and tells whom it has met.
const AT_ONCE: &str = "while :; do for to in 172.30.0.10:6443 10.96.0.1:443; do /bin/probe --limit 3000 connect --to $to --speak https; done; sleep 0.2; done";

fn deployment(name: &str, node: &Node, replicas: usize, labels: &Value, line: Option<&str>) -> Value {
    let mut labels = labels.clone();
    labels["app"] = json!(name);
    let mut container = json!({"name": "main", "image": images::AGENT, "imagePullPolicy": "Never"});
    if let Some(line) = line {
        container["command"] = json!(["/bin/sh", "-c", line]);
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": "agent", "terminationGracePeriodSeconds": 0,
                "nodeSelector": {"kubernetes.io/hostname": node.name},
                "containers": [container],
            }},
        },
    })
}

fn agent_label() -> Value {
    json!({"egressguard.io/agent": "chatgpt"})
}

/// The names of a Deployment's pods that are ready, each with how often its container was started again.
fn ready(name: &str) -> Vec<(String, u64)> {
    let list = INSTALLED.kubectl.run(["get", "pods", "--selector", &format!("app={name}"), "-o", "json"]).out;
    let list: Value = serde_json::from_str(&list).unwrap_or_default();
    let pods =
        list["items"].as_array().into_iter().flatten().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods.filter_map(|pod| {
        let container = &pod["status"]["containerStatuses"][0];
        let ready = container["ready"] == true && container["state"]["running"].is_object();
        ready.then(|| Some((pod["metadata"]["name"].as_str()?.to_owned(), container["restartCount"].as_u64()?)))?
    })
    .collect()
}

/// Waits for one pod of a Deployment whose container was started so often.
#[track_caller]
fn one(name: &str, restarts: u64) -> Pod {
    let pod = eventually(&format!("a pod of {name}"), LONG, || match ready(name).as_slice() {
        [(pod, count)] if *count >= restarts => Ok(pod.clone()),
        other => Err(format!("{other:?}\n{}", INSTALLED.said())),
    });
    Pod::existing(&INSTALLED.kubectl, &INSTALLED.cluster.nodes, &pod)
}

/// Takes the second node's power, and gives it back; `forgets`: what a reboot doesn't leave is gone.
#[track_caller]
fn power_fails(name: &str, forgets: bool) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let installed = &*INSTALLED;
    let [first, node] = installed.cluster.nodes.as_slice() else { panic!("this area needs two nodes") };
    let [of_agent, of_ordinary, elsewhere] = ["agent", "ordinary", "elsewhere"].map(|kind| format!("{name}-{kind}"));
    let items = [
        deployment(&of_agent, node, 1, &agent_label(), Some(AT_ONCE)),
        deployment(&of_ordinary, node, 1, &json!({}), Some(AT_ONCE)),
        deployment(&elsewhere, first, 1, &agent_label(), None),
    ];
    installed.kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let before = [one(&of_agent, 0), one(&of_ordinary, 0)];
    let other = one(&elsewhere, 0);
    installed.served(&before[0]);
    let pins = || fs::read_dir(installed.pins(node)).into_iter().flatten().flatten().count();
    assert!(pins() > 0);
    let audit = AuditLog::from_now(&installed.cluster.audit_log);
    let off = installed.cluster.power_off(node).expect("taking the node's power");
    installed.served(&other);
    if forgets {
        off.forget(&installed.pins(node)).expect("what a reboot forgets");
    }
    assert_eq!(pins() == 0, forgets);
    installed.cluster.power_on(&off).expect("giving the node's power back");
    let after = [one(&of_agent, 1), one(&of_ordinary, 1)];
    installed.served(&after[0]);
    let api_server = installed.api_server_certificate();
    let said = |pod: &Pod| installed.kubectl.run(["logs", &pod.name, "--container=main"]).ok();
    // From its first moment on.
    assert!(!said(&after[0]).contains(&api_server), "the agent met the API server");
    eventually("the ordinary pod to meet it", LONG, || {
        let said = said(&after[1]);
        if said.contains(&api_server) { Ok(()) } else { Err(said) }
    });
    let addresses = |pods: &[&Pod]| -> Vec<String> {
        pods.iter().flat_map(|pod| pod.addresses.iter().map(ToString::to_string)).collect()
    };
    let ordinary = addresses(&[&after[1]]);
    audit.wait_for("the ordinary pod's request", |event| {
        event.source_ips.iter().any(|source| ordinary.contains(source))
    });
    // An address may be the ordinary pod's after it was the agent's.
    let mut agents = addresses(&[&before[0], &after[0]]);
    agents.retain(|address| !addresses(&[&before[1], &after[1]]).contains(address));
    assert!(!agents.is_empty(), "{before:?}, {after:?}");
    let passed = audit.events().into_iter().find(|event| event.source_ips.iter().any(|source| agents.contains(source)));
    assert!(passed.is_none(), "{passed:?}");
    installed.kubectl.run(["delete", "deployment", &of_agent, &of_ordinary, &elsewhere]).ok();
}

#[test]
fn a_node_whose_power_fails_guards_its_agents_by_what_its_kernel_kept() {
    power_fails("kept", false);
}

#[test]
fn a_rebooted_node_guards_its_agents_before_they_start() {
    power_fails("rebooted", true);
}

#[test]
fn fifty_agents_on_a_node_are_all_guarded_in_150_mb_and_leave_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let installed = &*INSTALLED;
    let node = &installed.cluster.nodes[0];
    let pinned = |count: usize| {
        eventually(&format!("{count} pods to be under guard"), LONG, || {
            let held = installed.guard_of(node).held(installed);
            let all = ["pods pinned", "NETNS", "CGROUPS", "VETHS"].iter().all(|kind| held[kind] == count);
            if all { Ok(held) } else { Err(format!("{held:?}")) }
        })
    };
    let before = pinned(0);
    installed.kubectl.apply(&deployment("many", node, AGENTS, &agent_label(), None));
    eventually("fifty agents to run, each by its gate's proof", LONG, || {
        let ready = ready("many").len();
        if ready == AGENTS { Ok(()) } else { Err(format!("{ready} of them\n{}", installed.said())) }
    });
    let with = pinned(AGENTS);
    let memory = installed.guard_of(node).memory();
    println!("with {AGENTS} agents the guard holds {} MB, and {with:?}", memory >> 20);
    assert!(memory < MEMORY, "{memory} bytes");
    for (pod, _) in ready("many").iter().step_by(10) {
        installed.served(&Pod::existing(&installed.kubectl, &installed.cluster.nodes, pod));
    }
    installed.kubectl.run(["delete", "deployment", "many"]).ok();
    let after = pinned(0);
    eventually("what it held for them to be given back", LONG, || {
        let now = installed.guard_of(node).held(installed);
        // Connections to the API server come and go by themselves.
        let spare = |kind: &str| if kind == "descriptors" { AGENTS / 5 } else { 0 };
        let more: Vec<_> = now.iter().filter(|(kind, count)| **count > before[*kind] + spare(kind)).collect();
        if more.is_empty() { Ok(()) } else { Err(format!("{more:?}, before {before:?}, {after:?}")) }
    });
}
