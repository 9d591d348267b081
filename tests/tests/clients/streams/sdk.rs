//! The same with the clients of Python and JavaScript, which speak other versions than kubectl; and with none at all.

use guard_e2e::harness::{Agent, PodPlan, unique};
use xtask::images;

use super::{line, target, with};
use crate::WORLD;

/// What a Python program needs to speak WebSocket to the API server by itself.
const RAW: &str = r#"
import ssl, websocket, base64, struct
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
token = open(folder + "token").read()
def connect(path, *protocols):
    return websocket.create_connection("wss://10.96.0.1" + path, subprotocols=list(protocols), timeout=60,
        header=["Authorization: Bearer " + token], sslopt={"ca_certs": folder + "ca.crt"})
def receive(socket):
    opcode, data = socket.recv_data()
    return opcode, data
"#;

#[test]
fn python_executes_with_input_and_output() {
    let pod = WORLD.pod(PodPlan::agent(unique("python-exec"), Agent("unhindered")).image(images::AGENT_PYTHON));
    let target = &target().name;
    let from = WORLD.guard_of(&pod).log_length();
    let program = format!(
        r#"
from kubernetes import client, config
from kubernetes.stream import stream
config.load_incluster_config()
api = client.CoreV1Api()
command = ["sh", "-c", "read line; echo got $line; echo oh >&2; exit 5"]
session = stream(api.connect_get_namespaced_pod_exec, "{target}", "{space}", command=command, stdin=True, stdout=True,
    stderr=True, tty=False, _preload_content=False)
session.write_stdin("hello\n")
session.run_forever(timeout=60)
print(session.read_stdout().strip(), session.read_stderr().strip(), session.returncode)
"#,
        space = WORLD.namespace
    );
    let out = pod.exec_with_input(["python3", "-"], &program).ok();
    assert_eq!(out.trim(), "got hello oh 5");
    if pod.node.name == super::agent().node.name {
        let line = line(from, |line| with(target, "exec")(line) && line["pod"] == *pod.name);
        assert_eq!((&line["protocol"], &line["exit"]), (&"v5.channel.k8s.io".into(), &5.into()), "{line}");
    }
}

#[test]
fn a_terminal_has_its_size_and_learns_of_another() {
    let pod = WORLD.pod(PodPlan::agent(unique("python-tty"), Agent("unhindered")).image(images::AGENT_PYTHON));
    let program = format!(
        r#"
import json, time
from kubernetes import client, config
from kubernetes.stream import stream
from kubernetes.stream.ws_client import RESIZE_CHANNEL
config.load_incluster_config()
command = ["sh", "-c", "while sleep 0.2; do stty size; done"]
session = stream(client.CoreV1Api().connect_get_namespaced_pod_exec, "{target}", "{space}", command=command, stdin=True,
    stdout=True, tty=True, _preload_content=False)
for rows, columns in [(33, 111), (22, 99)]:
    session.write_channel(RESIZE_CHANNEL, json.dumps({{"Height": rows, "Width": columns}}))
    end = time.time() + 60
    said = ""
    while "%d %d" % (rows, columns) not in said and time.time() < end:
        session.update(timeout=1)
        said += session.read_stdout(timeout=1) or ""
    print("%d %d" % (rows, columns) in said)
"#,
        space = WORLD.namespace,
        target = target().name
    );
    assert_eq!(pod.exec_with_input(["python3", "-"], &program).ok(), "True\nTrue\n");
}

#[test]
fn javascript_executes_and_forwards_a_port() {
    let pod = WORLD.pod(PodPlan::agent(unique("javascript-exec"), Agent("unhindered")).image(images::AGENT_NODE));
    let served = WORLD.pod(PodPlan::ordinary(unique("served")).on(1));
    let _server = served.serve_etc();
    let program = format!(
        r#"
import * as k8s from "@kubernetes/client-node";
import {{ PassThrough }} from "node:stream";
const config = new k8s.KubeConfig();
config.loadFromCluster();
const out = new PassThrough();
let text = "";
out.on("data", (piece) => (text += piece));
const input = new PassThrough();
const status = await new Promise((done, failed) => {{
  const command = ["sh", "-c", "read line; echo got $line; exit 6"];
  new k8s.Exec(config).exec("{space}", "{target}", "main", command, out, out, input, false, done).catch(failed);
  input.write("hello\n");
}});
console.log(text.trim(), status.status, status.details.causes[0].message);
const page = await new Promise((done, failed) => {{
  const data = new PassThrough(), request = new PassThrough(), wrong = new PassThrough();
  let text = "";
  data.on("data", (piece) => {{ text += piece; if (text.includes("localhost")) done(text); }});
  wrong.on("data", (piece) => failed(new Error(String(piece))));
  new k8s.PortForward(config).portForward("{space}", "{served}", [8080], data, wrong, request).catch(failed);
  request.write("GET /hosts HTTP/1.0\r\n\r\n");
}});
console.log(page.split("\r\n")[0]);
process.exit(0);
"#,
        space = WORLD.namespace,
        target = target().name,
        served = served.name
    );
    let out = pod.exec_with_input(["node", "--input-type=module", "-"], &program).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "got hello Failure 6");
    assert!(lines[1].contains("200 OK"), "{out}");
}

#[test]
fn old_versions_and_base64_and_a_watch_over_websocket_are_spoken() {
    let pod = WORLD.pod(PodPlan::agent(unique("raw"), Agent("unhindered")).image(images::AGENT_PYTHON));
    let program = format!(
        r#"{RAW}
exec_path = "/api/v1/namespaces/{space}/pods/{target}/exec?stdin=1&stdout=1&stderr=1&command=sh&command=-c&command=read+line%3B+echo+got+%24line"
for protocol in ["v4.channel.k8s.io", "channel.k8s.io", "v4.base64.channel.k8s.io", "base64.channel.k8s.io"]:
    socket = connect(exec_path, protocol)
    assert socket.getsubprotocol() == protocol, socket.getsubprotocol()
    coded = "base64" in protocol
    if coded:
        socket.send("0" + base64.b64encode(b"hello\n").decode())
    else:
        socket.send_binary(b"\0hello\n")
    said = b""
    while b"got hello" not in said:
        opcode, data = receive(socket)
        assert opcode in (1, 2), (opcode, data)
        if data[:1] in (b"1", b"\x01"):
            said += base64.b64decode(data[1:]) if coded else data[1:]
    print(protocol)
watch = connect("/api/v1/namespaces/{space}/pods?watch=1&fieldSelector=metadata.name%3D{target}")
opcode, data = receive(watch)
print(opcode, b'"ADDED"' in data)
log = connect("/api/v1/namespaces/{space}/pods/{target}/log", "base64.binary.k8s.io")
print(log.getsubprotocol())
"#,
        space = WORLD.namespace,
        target = target().name
    );
    let out = pod.exec_with_input(["python3", "-"], &program).ok();
    let expected = "v4.channel.k8s.io\nchannel.k8s.io\nv4.base64.channel.k8s.io\nbase64.channel.k8s.io\n1 True\nbase64.binary.k8s.io\n";
    assert_eq!(out, expected);
}

#[test]
fn a_client_that_makes_no_sense_reads_why() {
    let pod = WORLD.pod(PodPlan::agent(unique("senseless"), Agent("unhindered")).image(images::AGENT_PYTHON));
    let program = format!(
        r#"{RAW}
path = "/api/v1/namespaces/{space}/pods/{target}/exec?stdin=1&stdout=1&command=cat"
frames = {{
    "fragments": [(0, 2, b"\x04x"), (1, 0, b"\0hidden")],
    "opcode": [(1, 3, b"\0hidden")],
    "channel": [(1, 2, b"\x09x")],
}}
for name, sent in frames.items():
    socket = connect(path, "v5.channel.k8s.io")
    for fin, opcode, data in sent:
        head = struct.pack("!BB4s", fin << 7 | opcode, 0x80 | len(data), b"\0\0\0\0")
        socket.sock.sendall(head + data)
    while True:
        opcode, data = receive(socket)
        if opcode == 8:
            print(name, struct.unpack("!H", data[:2])[0], data[2:].decode())
            break
"#,
        space = WORLD.namespace,
        target = target().name
    );
    let out = pod.exec_with_input(["python3", "-"], &program).ok();
    let expected = [
        "fragments 1002 egress guard: a message in fragments, in a protocol whose servers take each fragment for a message",
        "opcode 1002 egress guard: a WebSocket frame with the reserved opcode 3",
        "channel 1002 egress guard: a message for channel 9, which this protocol does not have",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}
