//! Much passes in little memory: a list of 500 MB from a real API server.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use guard_e2e::harness::{Agent, Kubectl, PodPlan, World, unique};
use serde_json::{Value, json};

/// Just below what etcd takes in one object.
const OBJECT_BYTES: usize = 1_000_000;
const OBJECTS: usize = 500;
const BATCH: usize = 50;
/// What the guard's process may hold, all of it, while the list passes.
const GUARD_BYTES: u64 = 64 << 20;
const LONG: Duration = Duration::from_mins(3);

#[test]
fn a_list_of_500_mb_passes_in_64_mb_of_memory() {
    let world = World::guarded();
    let namespace = format!("{}-bulk", world.namespace);
    world.kubectl.run(["create", "namespace", &namespace]).ok();
    let kubectl = Kubectl::new(&world.cluster, &namespace);
    let text = "x".repeat(OBJECT_BYTES);
    for batch in 0..OBJECTS / BATCH {
        let object = |number: usize| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{}", batch * BATCH + number), "namespace": namespace},
                "data": {"text": text},
            })
        };
        let items: Vec<_> = (0..BATCH).map(object).collect();
        create(&kubectl, &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    }
    let agent = world.pod(PodPlan::agent(unique("reader"), Agent("chatgpt")));
    let credentials = "/var/run/secrets/kubernetes.io/serviceaccount";
    for version in ["--http1.1", "--http2"] {
        let guard = world.guard();
        guard.forget_peak();
        let before = guard.memory_peak();
        // The reader is slower than the API server writes.
        let read = format!(
            "curl -sS --max-time 150 {version} --cacert {credentials}/ca.crt -H \"Authorization: Bearer $(cat {credentials}/token)\" \
             https://10.96.0.1/api/v1/namespaces/{namespace}/configmaps | wc -c"
        );
        let mut reader = agent.start(["sh", "-c", &read]);
        let read: usize = reader.line(LONG).trim().parse().expect("a number of bytes");
        let peak = guard.memory_peak();
        eprintln!("{version}: {} MB passed; the guard held {} MB, {} MB before", read >> 20, peak >> 20, before >> 20);
        assert!(read > OBJECTS * OBJECT_BYTES, "{version}: {read} bytes came through");
        assert!(peak < GUARD_BYTES, "{version}: the guard held {} MB while {} MB passed", peak >> 20, read >> 20);
    }
    world.kubectl.run(["delete", "namespace", &namespace, "--wait=false"]).ok();
}

#[track_caller]
fn create(kubectl: &Kubectl, object: &Value) {
    let mut command = kubectl.command(["create", "-f", "-"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("starting kubectl");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(object.to_string().as_bytes()).expect("writing to kubectl");
    drop(stdin);
    let output = child.wait_with_output().expect("waiting for kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
