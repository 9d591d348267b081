//! Nothing is buffered, and what has died upstream is noticed.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use guard_e2e::harness::{Agent, NodeNetns, PodPlan, eventually, unique};
use serde_json::{Value, json};

use crate::WORLD;

/// Just below what etcd takes in one object.
const OBJECT_BYTES: usize = 1_000_000;
const OBJECTS: usize = 500;
const BATCH: usize = 50;
/// What the guard's process may hold, all of it, while the list passes.
const GUARD_BYTES: u64 = 64 << 20;
/// Ten seconds of silence, then ten seconds for an answer to a ping; and two busy cores.
const DEAD: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(180);

#[test]
fn a_list_of_500_mb_passes_in_64_mb_of_memory() {
    let namespace = unique("bulk");
    WORLD.kubectl.run(["create", "namespace", &namespace]).ok();
    let text = "x".repeat(OBJECT_BYTES);
    for batch in 0..OBJECTS / BATCH {
        let object = |number: usize| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{}", batch * BATCH + number), "namespace": namespace},
                "data": {"text": text},
            })
        };
        let items: Vec<_> = (0..BATCH).map(object).collect();
        create(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
    }
    let agent = WORLD.pod(PodPlan::agent(unique("reader"), Agent("chatgpt")));
    let credentials = "/var/run/secrets/kubernetes.io/serviceaccount";
    for version in ["--http1.1", "--http2"] {
        let guard = process();
        // proc(5): 5 makes the highest resident size so far the present one.
        fs::write(format!("/proc/{guard}/clear_refs"), "5").expect("the guard runs");
        // The reader is slower than the API server writes.
        let read = format!(
            "curl -sS --max-time 150 {version} --cacert {credentials}/ca.crt -H \"Authorization: Bearer $(cat {credentials}/token)\" \
             https://10.96.0.1/api/v1/namespaces/{namespace}/configmaps | wc -c"
        );
        let mut reader = agent.start(["sh", "-c", &read]);
        let read: usize = reader.line(LONG).trim().parse().expect("a number of bytes");
        let peak = memory_peak(guard);
        assert!(read > OBJECTS * OBJECT_BYTES, "{version}: {read} bytes came through");
        assert!(peak < GUARD_BYTES, "{version}: the guard held {} MB while {} MB passed", peak >> 20, read >> 20);
    }
    WORLD.kubectl.run(["delete", "namespace", &namespace, "--wait=false"]).ok();
}

#[test]
fn an_api_server_that_falls_silent_is_noticed_and_the_client_sees_a_reset() {
    let agent = WORLD.pod(PodPlan::agent(unique("listener"), Agent("chatgpt")));
    let name = unique("silent");
    WORLD.kubectl.run(["create", "configmap", &name, "--from-literal=v=0"]).ok();
    let credentials = "/var/run/secrets/kubernetes.io/serviceaccount";
    let watch = format!(
        "curl -sSN --max-time 120 --cacert {credentials}/ca.crt -H \"Authorization: Bearer $(cat {credentials}/token)\" \
         'https://10.96.0.1/api/v1/namespaces/{}/configmaps?watch=1&fieldSelector=metadata.name={name}'; echo curl ended with $?",
        WORLD.namespace
    );
    let mut watch = agent.start(["sh", "-c", &watch]);
    watch.line_with(&name, DEAD);
    let silence = Silence::of_the_guards_connections();
    let end = watch.line_with("curl ended with", DEAD);
    // 0 would be a clean end; 28 curl's own time-out.
    assert!(["curl ended with 56", "curl ended with 92", "curl ended with 18"].contains(&end.as_str()), "{end}");
    drop(silence);
    eventually("the agent's next request to be answered", DEAD, || {
        let answer = agent.exec(["kubectl", "get", "configmap", &name]);
        if answer.status.success() { Ok(()) } else { Err(answer.err) }
    });
}

#[track_caller]
fn create(object: &Value) {
    let mut command = WORLD.kubectl.command(["create", "-f", "-"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("starting kubectl");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(object.to_string().as_bytes()).expect("writing to kubectl");
    drop(stdin);
    let output = child.wait_with_output().expect("waiting for kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The first node's guard.
#[track_caller]
fn process() -> u32 {
    let file = WORLD.guard().node.logs.join("guard.pid");
    fs::read_to_string(file).ok().and_then(|pid| pid.trim().parse().ok()).expect("the guard's process id")
}

/// In bytes.
#[track_caller]
fn memory_peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the guard runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("proc(5)");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes << 10
}

/// Drops what the guard sends on the connections to the API server that it has now; new ones work.
struct Silence {
    node: NodeNetns,
}

impl Silence {
    #[track_caller]
    fn of_the_guards_connections() -> Self {
        let node = NodeNetns::new(&WORLD.guard().node.netns);
        let owner = format!("pid={},", process());
        let connections = node.sh("ss -Htnp state established dport = :6443");
        let own = connections.lines().filter(|line| line.contains(&owner));
        let ports: Vec<&str> =
            own.filter_map(|line| line.split_whitespace().nth(2)?.rsplit_once(':')).map(|(_, port)| port).collect();
        assert!(!ports.is_empty(), "the guard has connections to the API server: {connections}");
        node.sh(&format!(
            "nft 'table inet silence {{ chain out {{ type filter hook output priority 0; tcp dport 6443 tcp sport {{ {} }} drop; }}; }}'",
            ports.join(", ")
        ));
        Self { node }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.node.sh("nft delete table inet silence");
    }
}
