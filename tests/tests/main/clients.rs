//! What agents do all day goes through the guard, as if it were not there.

use std::sync::LazyLock;

use guard_e2e::harness::{Agent, Pod, PodPlan, SOON, eventually, unique};
use serde_json::{Value, json};
use xtask::images;

use crate::WORLD;

/// An agent, and an ordinary pod to work on. Of one size for all tests here.
static PODS: LazyLock<[Pod; 2]> =
    LazyLock::new(|| WORLD.pods(&[PodPlan::agent("worker", Agent("chatgpt")), PodPlan::ordinary("workpiece").on(1)]));

fn agent() -> &'static Pod {
    &PODS[0]
}

fn workpiece() -> &'static Pod {
    &PODS[1]
}

fn kubectl(arguments: &[&str]) -> String {
    agent().exec(std::iter::once(&"kubectl").chain(arguments)).ok()
}

#[test]
fn kubectl_gets_the_same_as_an_administrator_in_every_output() {
    let audit = WORLD.audit();
    for output in
        ["json", "yaml", "name", "jsonpath={.data}", "go-template={{.metadata.uid}}", "custom-columns=N:.metadata.name"]
    {
        let arguments = ["get", "configmap", "egress-guard-ca", "-o", output];
        assert_eq!(kubectl(&arguments), WORLD.kubectl.run(arguments).ok(), "{output}");
    }
    let table = kubectl(&["get", "pods", "-o", "wide", "--show-labels"]);
    assert!(table.contains("NAME") && table.contains("worker") && table.contains("workpiece"), "{table}");
    assert!(kubectl(&["describe", "pod", "workpiece"]).contains("Service Account:"));
    assert!(kubectl(&["api-resources"]).contains("deployments"));

    // The API server saw the agent's account, and the guard's node.
    let account = format!("system:serviceaccount:{}:agent", WORLD.namespace);
    let event = audit.wait_for("the agent's get", |event| {
        event.user.username == account && event.request_uri.ends_with("/configmaps/egress-guard-ca")
    });
    let node = agent().node.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(event.source_ips.iter().all(|source| node.contains(source)), "{event:?}");
}

#[test]
fn kubectl_creates_applies_patches_and_deletes() {
    let name = unique("made");
    let value = || WORLD.kubectl.get("configmap", &name)["data"].clone();
    kubectl(&["create", "configmap", &name, "--from-literal=a=1"]);
    assert_eq!(value(), json!({"a": "1"}));
    let object =
        |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    let apply = ["kubectl", "apply", "-f", "-"];
    agent().exec_with_input(apply, &object(json!({"a": "2", "b": "2"})).to_string()).ok();
    assert_eq!(value(), json!({"a": "2", "b": "2"}));
    let server_side = ["kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-"];
    agent().exec_with_input(server_side, &object(json!({"c": "3"})).to_string()).ok();
    assert_eq!(value()["c"], "3");
    kubectl(&["patch", "configmap", &name, "--type=merge", "-p", r#"{"data":{"a":"4"}}"#]);
    kubectl(&["patch", "configmap", &name, "--type=json", "-p", r#"[{"op":"replace","path":"/data/c","value":"5"}]"#]);
    assert_eq!((&value()["a"], &value()["c"]), (&json!("4"), &json!("5")));
    kubectl(&["label", "configmap", &name, "x=y"]);
    kubectl(&["delete", "configmap", &name]);
    assert!(WORLD.kubectl.run(["get", "configmap", &name]).refused().contains("NotFound"));
}

#[test]
fn a_watch_shows_each_change_as_it_comes() {
    let name = unique("watched");
    WORLD.kubectl.run(["create", "configmap", &name, "--from-literal=v=0"]).ok();
    let mut watch = agent().start(["kubectl", "get", "configmap", &name, "--watch", "-o", r"jsonpath={.data.v}{'\n'}"]);
    assert_eq!(watch.line(SOON), "0");
    for change in 1..=5 {
        let patch = format!(r#"{{"data":{{"v":"{change}"}}}}"#);
        WORLD.kubectl.run(["patch", "configmap", &name, "--type=merge", "-p", &patch]).ok();
        // Each is seen before the next is made.
        assert_eq!(watch.line(SOON), change.to_string());
    }
}

#[test]
fn a_log_line_arrives_before_the_next_is_written() {
    let write = |text: &str| workpiece().sh(&format!("echo {text} > /proc/1/fd/1")).ok();
    write("line-0");
    let mut logs = agent().start(["kubectl", "logs", "--follow", "workpiece"]);
    logs.line_with("line-0", SOON);
    for number in 1..=5 {
        let text = format!("line-{number}");
        write(&text);
        assert_eq!(logs.line(SOON), text);
    }
}

#[test]
fn exec_carries_standard_input_output_error_and_the_exit_status() {
    let command = ["kubectl", "exec", "--stdin", "workpiece", "--", "sh", "-c", "cat; echo oh >&2; exit 7"];
    let answer = agent().exec_with_input(command, "hello");
    assert_eq!(answer.status.code(), Some(7), "{answer:?}");
    assert_eq!(answer.out, "hello");
    assert!(answer.err.contains("oh"), "{answer:?}");
}

#[test]
fn exec_answers_while_it_runs() {
    let mut exec = agent().start([
        "kubectl",
        "exec",
        "--stdin",
        "workpiece",
        "--",
        "sh",
        "-c",
        "while read l; do echo got $l; done",
    ]);
    for number in 1..=5 {
        exec.write(&format!("{number}\n"));
        assert_eq!(exec.line(SOON), format!("got {number}"));
    }
    exec.end_input();
    exec.wait(SOON).ok();
}

#[test]
fn port_forward_carries_a_server_of_another_pod() {
    let _server = workpiece().serve_etc();
    let mut forward = agent().start(["kubectl", "port-forward", "pod/workpiece", "18080:8080"]);
    forward.line_with("127.0.0.1:18080", SOON);
    let fetched = eventually("the forwarded server to answer", SOON, || {
        let answer = agent().sh("curl -sS --max-time 5 http://127.0.0.1:18080/hosts");
        if answer.status.success() { Ok(answer.out) } else { Err(answer.err) }
    });
    assert!(fetched.contains("localhost"), "{fetched}");
}

#[test]
fn cp_carries_a_file_both_ways() {
    let sum = |pod: &Pod, file: &str| pod.sh(&format!("sha256sum < {file}")).ok();
    agent().sh("head -c 5000000 /dev/urandom > /tmp/out").ok();
    kubectl(&["cp", "/tmp/out", "workpiece:/tmp/there"]);
    kubectl(&["cp", "workpiece:/tmp/there", "/tmp/back"]);
    let original = sum(agent(), "/tmp/out");
    assert_eq!(sum(workpiece(), "/tmp/there"), original);
    assert_eq!(sum(agent(), "/tmp/back"), original);
}

#[test]
fn both_versions_of_http_and_of_tls_are_spoken_by_address_and_by_name() {
    let credentials = "/var/run/secrets/kubernetes.io/serviceaccount";
    for (options, url, version) in [
        ("--http1.1 --tls-max 1.2", "https://10.96.0.1/version", "1.1"),
        ("--http1.1 --tlsv1.3", "https://10.96.0.1/version", "1.1"),
        ("--http2 --tls-max 1.2", "https://10.96.0.1/version", "2"),
        ("--http2 --tlsv1.3", "https://172.30.0.10:6443/version", "2"),
        ("--http2", "https://[fd00:10:96::1]/version", "2"),
        ("--http2 --resolve kubernetes.default.svc:443:10.96.0.1", "https://kubernetes.default.svc/version", "2"),
    ] {
        let answer = agent().sh(&format!(
            "curl -sS --max-time 20 {options} --cacert {credentials}/ca.crt -H \"Authorization: Bearer $(cat {credentials}/token)\" \
             -o /dev/null -w '%{{http_version}} %{{http_code}}' '{url}'"
        ));
        assert_eq!(answer.ok(), format!("{version} 200"), "{options} {url}");
    }
}

#[test]
fn pythons_client_reads_writes_and_watches() {
    let pod = WORLD.pod(PodPlan::agent("python", Agent("chatgpt")).image(images::AGENT_PYTHON));
    let name = unique("python");
    let program = format!(
        r#"
from kubernetes import client, config, watch
config.load_incluster_config()
api = client.CoreV1Api()
space = "{space}"
api.create_namespaced_config_map(space, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="{name}"), data={{"v": "1"}}))
seen = []
for event in watch.Watch().stream(api.list_namespaced_config_map, space, field_selector="metadata.name={name}", timeout_seconds=30):
    seen.append(event["type"] + (event["object"].data or {{}}).get("v", ""))
    if len(seen) == 1:
        api.patch_namespaced_config_map("{name}", space, {{"data": {{"v": "2"}}}})
    elif len(seen) == 2:
        api.delete_namespaced_config_map("{name}", space)
    else:
        break
names = [pod.metadata.name for pod in api.list_namespaced_pod(space).items]
print(" ".join(seen), "{pod}" in names)
"#,
        space = WORLD.namespace,
        pod = pod.name
    );
    let out = pod.exec_with_input(["python3", "-"], &program).ok();
    assert_eq!(out.trim(), "ADDED1 MODIFIED2 DELETED2 True");
}

#[test]
fn nodes_client_reads_writes_and_watches() {
    let pod = WORLD.pod(PodPlan::agent("javascript", Agent("chatgpt")).image(images::AGENT_NODE));
    let name = unique("javascript");
    let program = format!(
        r#"
import * as k8s from "@kubernetes/client-node";
const config = new k8s.KubeConfig();
config.loadFromCluster();
const api = config.makeApiClient(k8s.CoreV1Api);
const [namespace, name] = ["{space}", "{name}"];
await api.createNamespacedConfigMap({{ namespace, body: {{ metadata: {{ name }}, data: {{ v: "1" }} }} }});
const seen = [];
await new Promise((done, failed) => {{
  const path = `/api/v1/namespaces/${{namespace}}/configmaps`;
  const step = async (type, object) => {{
    seen.push(type + object.data.v);
    if (type === "ADDED") {{
      const body = {{ ...object, data: {{ v: "2" }} }};
      await api.replaceNamespacedConfigMap({{ namespace, name, body }});
    }} else if (type === "MODIFIED") {{
      await api.deleteNamespacedConfigMap({{ namespace, name }});
    }} else {{
      done();
    }}
  }};
  new k8s.Watch(config).watch(path, {{ fieldSelector: `metadata.name=${{name}}` }}, (type, object) => step(type, object).catch(failed), failed).catch(failed);
}});
const pods = await api.listNamespacedPod({{ namespace }});
console.log(seen.join(" "), pods.items.some((pod) => pod.metadata.name === "{pod}"));
process.exit(0);
"#,
        space = WORLD.namespace,
        pod = pod.name
    );
    let out = pod.exec_with_input(["node", "--input-type=module", "-"], &program).ok();
    assert_eq!(out.trim(), "ADDED1 MODIFIED2 DELETED2 true");
}
