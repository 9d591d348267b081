//! Two API servers, of which one dies under its clients: what it was doing breaks off and is seen to, all else goes on.

use std::time::Duration;

use guard_e2e::harness::{Agent, Pod, PodPlan, Running, World, eventually, unique};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use xtask::process;

const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What an API server that died may take to leave the endpoints, and the guard's test of silence.
const LONG: Duration = Duration::from_mins(2);
const PODS: usize = 4;

/// A watch of one pod: a line for each event, and `ended STATUS` at its end.
struct Watch {
    pod: Pod,
    running: Running,
}

#[test]
fn of_two_api_servers_one_dies_and_only_what_it_was_doing_breaks() {
    let world = World::guarded();
    let (netns, second) = world.cluster.second_api_server.clone().expect("this area's cluster has two");
    eventually("both API servers to be endpoints", LONG, || {
        let slice = world.kubectl.run(["get", "endpointslice", "kubernetes", "--namespace=default", "-o", "json"]).ok();
        if slice.contains(&second.ip().to_string()) { Ok(()) } else { Err(slice) }
    });
    // Each pod has its own connection to an API server; the guard takes them in turn.
    let plans: [PodPlan; PODS] = std::array::from_fn(|_| PodPlan::agent(unique("watcher"), Agent("chatgpt")));
    let path = format!("/api/v1/namespaces/{}/configmaps", world.namespace);
    let mut watches: Vec<Watch> = Vec::new();
    for pod in world.pods(&plans) {
        let line = format!("{}; echo ended $?", curl(&format!("-N '{path}?watch=1'")));
        watches.push(Watch { running: pod.start(["sh", "-c", &line]), pod });
    }
    announce(&world, "before");
    for watch in &mut watches {
        assert!(event(watch, "before"), "the watch of {} does not run", watch.pod.name);
    }

    let processes = process::in_netns(&netns);
    assert_eq!(processes.len(), 1, "the second API server alone is there");
    kill(Pid::from_raw(processes[0]), Signal::SIGKILL).expect("killing an API server");

    // At once, from every pod: the next server is tried.
    for watch in &watches {
        for n in 0..5 {
            let create = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": unique("made")}});
            let made = watch.pod.sh(&curl(&format!(
                "-o /dev/null -w '%{{http_code}}' -H 'Content-Type: application/json' -d '{create}' {path}"
            )));
            assert_eq!(made.out, "201", "request {n} of {}: {}", watch.pod.name, made.err);
        }
    }
    announce(&world, "after");
    let outcomes: Vec<bool> = watches.iter_mut().map(|watch| event(watch, "after")).collect();
    let alive = outcomes.iter().filter(|alive| **alive).count();
    assert!((1..PODS).contains(&alive), "{alive} of {PODS} watches live: none or all were on the one that died");
}

/// curl as an agent would use it; a number other than 0 at its end says that the answer did not come whole.
fn curl(arguments: &str) -> String {
    let (options, target) = arguments.rsplit_once(' ').unwrap_or(("", arguments));
    format!(
        "curl -sS --cacert {CREDENTIALS}/ca.crt -H \"Authorization: Bearer $(cat {CREDENTIALS}/token)\" {options} \
         \"https://10.96.0.1\"{target}"
    )
}

#[track_caller]
fn announce(world: &World, name: &str) {
    world.kubectl.apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": world.namespace}}),
    );
}

/// Whether the event comes. If the watch ends before, that must show as a failure.
#[track_caller]
fn event(watch: &mut Watch, name: &str) -> bool {
    let wanted = format!("\"name\":\"{name}\"");
    loop {
        let line = watch.running.line(LONG);
        if line.contains(&wanted) {
            return true;
        }
        if let Some(status) = line.trim().strip_prefix("ended ") {
            assert_ne!(status, "0", "the watch of {} ended as if it were over", watch.pod.name);
            return false;
        }
    }
}
