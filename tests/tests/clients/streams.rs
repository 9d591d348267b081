//! exec, attach and port-forward, over each transport that clients have for them.

use std::sync::LazyLock;
use std::time::Duration;

use guard_e2e::harness::{Agent, Answer, Pod, PodPlan, SOON, eventually, unique};
use serde_json::Value;
use xtask::images;

use crate::WORLD;

#[path = "streams/sdk.rs"]
mod sdk;

/// kubectl's own switch, and what the two sides then agree on.
const TRANSPORTS: [(&str, &str, &str); 2] = [
    ("true", "v5.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"),
    ("false", "SPDY/3.1 v4.channel.k8s.io", "SPDY/3.1 portforward.k8s.io"),
];

/// An agent, and a pod to work on. Of one size for all tests here.
static PODS: LazyLock<[Pod; 2]> = LazyLock::new(|| {
    WORLD.pods(&[PodPlan::agent("streamer", Agent("unhindered")), PodPlan::ordinary("streamed").on(1)])
});

fn agent() -> &'static Pod {
    &PODS[0]
}

fn target() -> &'static Pod {
    &PODS[1]
}

/// Runs a line of shell in the agent, with kubectl's streams over WebSocket or not.
fn sh(websockets: &str, line: &str) -> Answer {
    agent().sh(&format!(
        "export KUBECTL_REMOTE_COMMAND_WEBSOCKETS={websockets} KUBECTL_PORT_FORWARD_WEBSOCKETS={websockets}; {line}"
    ))
}

/// The guard's line on the exec, attach or port-forward whose request says `what`, since `from`.
fn line(from: u64, what: impl Fn(&Value) -> bool) -> Value {
    let guard = WORLD.guard_of(agent());
    eventually("the guard's line on the stream", SOON, || {
        let lines = guard.log_since(from);
        let found =
            lines.into_iter().find(|line| line["event"] == "exchange" && !line["protocol"].is_null() && what(line));
        found.ok_or_else(|| "no line yet".to_owned())
    })
}

/// An exchange with a pod's subresource.
fn with(name: &str, subresource: &'static str) -> impl Fn(&Value) -> bool {
    let name = name.to_owned();
    move |line| line["object_name"] == *name && line["subresource"] == subresource
}

#[test]
fn exec_carries_input_output_error_and_code_and_the_guard_knows_them() {
    let pod = WORLD.pod(PodPlan::ordinary(unique("exec")));
    for (websockets, protocol, _) in TRANSPORTS {
        let from = WORLD.guard_of(agent()).log_length();
        let command = format!("printf 12345 | kubectl exec -i {} -- sh -c 'cat; printf 123 >&2; exit 42'", pod.name);
        let answer = sh(websockets, &command);
        assert_eq!((answer.status.code(), &*answer.out), (Some(42), "12345"), "{protocol}: {answer:?}");
        assert!(answer.err.starts_with("123"), "{protocol}: {answer:?}");
        let line = line(from, with(&pod.name, "exec"));
        assert_eq!((&line["protocol"], &line["exit"]), (&protocol.into(), &42.into()), "{line}");
        let channels = line["channels"].as_str().expect("a text");
        assert!(channels.starts_with("stdin=5 stdout=5 stderr=3 error="), "{line}");
        assert_eq!((&line["outcome"], &line["fault"]), (&"complete".into(), &Value::Null), "{line}");
    }
}

#[test]
fn input_that_ends_ends_alone() {
    for (websockets, protocol, _) in TRANSPORTS {
        let command = "printf hello | kubectl exec -i streamed -- sh -c 'cat; sleep 1; echo after'";
        let _ = target();
        assert_eq!(sh(websockets, command).ok(), "helloafter\n", "{protocol}");
    }
}

#[test]
fn binary_output_and_input_are_the_same_to_the_byte() {
    let file = format!("/tmp/{}", unique("bytes"));
    target().sh(&format!("head -c 3000000 /dev/urandom > {file}")).ok();
    let sum = target().sh(&format!("sha256sum < {file}")).ok();
    for (websockets, protocol, _) in TRANSPORTS {
        let out = sh(websockets, &format!("kubectl exec streamed -- cat {file} > {file}; sha256sum < {file}"));
        assert_eq!(out.ok(), sum, "{protocol}");
        let back = sh(websockets, &format!("kubectl exec -i streamed -- sha256sum < {file}"));
        assert_eq!(back.ok(), sum, "{protocol}");
    }
}

#[test]
fn attach_carries_both_ways() {
    for (websockets, protocol, _) in TRANSPORTS {
        let name = unique("attached");
        let line = format!(
            "printf 'one\\ntwo\\n' | kubectl run {name} -i --rm --quiet --restart=Never --pod-running-timeout=2m --image={} \
             --image-pull-policy=Never --command -- sh -c 'while read line; do echo got $line; done; sleep 2'",
            images::AGENT
        );
        let answer = sh(websockets, &line);
        assert!(answer.out.contains("got one\n") && answer.out.contains("got two\n"), "{protocol}: {answer:?}");
    }
}

#[test]
fn a_port_forward_carries_many_connections_at_once() {
    let pod = WORLD.pod(PodPlan::ordinary(unique("served")).on(1));
    let _server = pod.serve_etc();
    for ((websockets, _, protocol), port) in TRANSPORTS.into_iter().zip([18081, 18082]) {
        let from = WORLD.guard_of(agent()).log_length();
        let command = format!(
            "echo $$ > /tmp/{port}; export KUBECTL_PORT_FORWARD_WEBSOCKETS={websockets}; exec kubectl port-forward pod/{} {port}:8080",
            pod.name
        );
        let mut forward = agent().start(["sh", "-c", &command]);
        forward.line_with(&format!("127.0.0.1:{port}"), SOON);
        let many = format!(
            "for n in $(seq 40); do curl -sS --max-time 60 http://127.0.0.1:{port}/hosts > /tmp/{port}.$n & done; wait; \
             grep -l localhost /tmp/{port}.* | wc -l"
        );
        assert_eq!(agent().sh(&many).ok().trim(), "40", "{protocol}");
        agent().sh(&format!("kill $(cat /tmp/{port})")).ok();
        let line = line(from, with(&pod.name, "portforward"));
        assert_eq!(line["protocol"], protocol, "{line}");
        assert!(line["channels"].as_str().is_some_and(|channels| channels.contains("data:8080=")), "{line}");
    }
}

#[test]
fn a_denied_exec_is_told_once_though_kubectl_tries_both_transports() {
    let vault = WORLD.pod(PodPlan::ordinary(unique("vault")).on(1));
    let hindered = WORLD.pod(PodPlan::agent(unique("hindered"), Agent("hindered")));
    let from = WORLD.guard_of(&hindered).log_length();
    let refused = hindered.exec(["kubectl", "exec", &vault.name, "--", "true"]).refused();
    assert_eq!(refused.matches("The vault is closed.").count(), 1, "{refused}");
    eventually("both tries in the guard's log", SOON, || {
        let lines = WORLD.guard_of(&hindered).log_since(from);
        let denied =
            lines.iter().filter(|line| line["object_name"] == *vault.name && line["decision"] == "deny").count();
        if denied == 2 { Ok(()) } else { Err(format!("{denied} denials")) }
    });
}

#[test]
fn kubectl_falls_back_to_spdy_where_the_websocket_is_refused() {
    let pod = WORLD.pod(PodPlan::ordinary(unique("fallback")).on(1));
    let hindered = WORLD.pod(PodPlan::agent(unique("hindered"), Agent("hindered")));
    let from = WORLD.guard_of(&hindered).log_length();
    let answer = hindered.exec(["kubectl", "exec", &pod.name, "--", "echo", "all the same"]);
    assert_eq!(answer.ok(), "all the same\n");
    eventually("both exchanges in the guard's log", SOON, || {
        let lines = WORLD.guard_of(&hindered).log_since(from);
        let execs: Vec<_> = lines
            .iter()
            .filter(|line| line["object_name"] == *pod.name && line["subresource"] == "exec")
            .map(|line| (line["decision"].clone(), line["protocol"].clone()))
            .collect();
        let expected = [("deny".into(), Value::Null), ("allow".into(), "SPDY/3.1 v4.channel.k8s.io".into())];
        if execs == expected { Ok(()) } else { Err(format!("{execs:?}")) }
    });
}

#[test]
fn an_exec_outlives_a_long_silence_and_goes_on() {
    let _ = target();
    let mut quiet = agent().start(["kubectl", "exec", "streamed", "--", "sh", "-c", "echo first; sleep 20; echo last"]);
    assert_eq!(quiet.line(SOON), "first");
    assert_eq!(quiet.line(SOON + Duration::from_secs(20)), "last");
}
