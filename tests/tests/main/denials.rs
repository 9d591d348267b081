//! What the guard itself refuses, and how it says so: to the client, on the pod, in its log.

use std::sync::LazyLock;

use guard_e2e::harness::{Agent, Answer, Pod, PodPlan, SOON, eventually, unique};

use crate::WORLD;

const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

static AGENTS: LazyLock<[Pod; 2]> = LazyLock::new(|| {
    WORLD.pods(&[PodPlan::agent("refused", Agent("chatgpt")), PodPlan::agent("robbed", Agent("chatgpt"))])
});

fn agent() -> &'static Pod {
    &AGENTS[0]
}

#[test]
fn deleting_a_namespace_is_refused_in_the_words_of_rbac() {
    let name = unique("precious");
    WORLD.kubectl.run(["create", "namespace", &name]).ok();
    let audit = WORLD.audit();
    let said = agent().exec(["kubectl", "delete", "namespace", &name]).refused();
    for part in [
        "Error from server (Forbidden)",
        &format!("namespaces \"{name}\" is forbidden"),
        "no-namespace-deletion",
        guard_e2e::harness::NO_DELETION,
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert_eq!(WORLD.kubectl.get("namespace", &name)["status"]["phase"], "Active");
    // Positive control: it was the guard, for the account may do it and an administrator can.
    WORLD.kubectl.run(["delete", "namespace", &name, "--wait=false"]).ok();
    let deletions = audit.wait_for("the administrator's deletion", |event| {
        event.verb == "delete" && event.request_uri.starts_with(&format!("/api/v1/namespaces/{name}"))
    });
    assert!(!deletions.user.username.starts_with("system:serviceaccount:"), "{deletions:?}");
}

#[test]
fn the_connection_goes_on_after_a_denial() {
    for version in ["--http1.1", "--http2"] {
        let curl = format!(
            "curl -sS --max-time 20 {version} --cacert {CREDENTIALS}/ca.crt -o /dev/null -w '%{{http_code}}:%{{num_connects}} ' \
             -H \"Authorization: Bearer $(cat {CREDENTIALS}/token)\""
        );
        let options = curl.trim_start_matches("curl ");
        let answer = agent().sh(&format!(
            "curl {options} -X DELETE https://10.96.0.1/api/v1/namespaces/default --next {options} https://10.96.0.1/version"
        ));
        assert_eq!(answer.ok().trim(), "403:1 200:0", "{version}");
    }
}

#[test]
fn exec_into_what_is_closed_is_refused_however_it_is_asked_for() {
    let vault = WORLD.pod(PodPlan::ordinary(unique("vault")));
    let said = agent().exec(["kubectl", "exec", &vault.name, "--", "true"]).refused();
    assert!(said.contains("The vault is closed."), "{said}");
    let spdy = ["env", "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "kubectl", "exec", &vault.name, "--", "true"];
    let said = agent().exec(spdy).refused();
    assert!(said.contains("The vault is closed."), "{said}");
    // Positive control: the way itself is open.
    agent().exec(["kubectl", "exec", &AGENTS[1].name, "--", "true"]).ok();
}

#[test]
fn an_exchange_has_one_audit_id_in_the_guards_log_and_the_api_servers() {
    let guard = WORLD.guard_of(agent());
    let (audit, from) = (WORLD.audit(), guard.log_length());
    let name = unique("traced");
    agent().exec(["kubectl", "create", "configmap", &name]).ok();
    let line = eventually("the exchange's line in the guard's log", SOON, || {
        let of_it = |line: &serde_json::Value| {
            let is = |field: &str, value: &str| line[field] == value;
            // Other tests use this pod at the same time.
            is("event", "exchange") && is("pod", &agent().name) && is("verb", "create") && is("resource", "configmaps")
        };
        guard.log_since(from).into_iter().find(of_it).ok_or("no such line")
    });
    let account = format!("system:serviceaccount:{}:agent", WORLD.namespace);
    for (field, value) in [
        ("namespace", WORLD.namespace.as_str()),
        ("user", &account),
        ("object_namespace", &WORLD.namespace),
        ("decision", "allow"),
        ("rule", ""),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert_eq!(line["status"], 201, "{line}");
    for number in ["bytes_in", "bytes_out", "duration_ms"] {
        assert!(line[number].is_u64(), "{number} in {line}");
    }
    let id = line["audit_id"].as_str().expect("an audit id").to_owned();
    let event = audit.wait_for("the same audit id", |event| event.audit_id == id);
    assert_eq!(event.verb, "create");
    assert_eq!(event.user.username, account);
}

#[test]
fn a_client_that_does_not_trust_the_guard_makes_an_event_that_says_what_to_do() {
    let said = agent().sh("curl -sS --max-time 20 https://10.96.0.1/version").refused();
    assert!(said.contains("certificate"), "{said}");
    let message = event(agent(), "ClientRefusesGuard");
    assert!(message.contains("ca.crt"), "{message}");
}

#[test]
fn a_token_that_does_not_prove_the_pod_is_refused_with_advice() {
    let with = |token: &str| -> Answer {
        let header = if token.is_empty() { String::new() } else { format!("-H 'Authorization: Bearer {token}'") };
        agent().sh(&format!(
            "curl -sS --max-time 20 --cacert {CREDENTIALS}/ca.crt {header} -w ' %{{http_code}}' https://10.96.0.1/api"
        ))
    };
    let own = token_of(agent());
    let stolen = token_of(&AGENTS[1]);
    let for_the_api_server = WORLD.kubectl.run(["create", "token", "agent"]).ok();
    let for_nobody = WORLD.kubectl.run(["create", "token", "agent", "--audience=egressguard.io"]).ok();
    assert!(with(&own).ok().ends_with(" 200"), "positive control");
    for (whose, token) in [
        ("none", ""),
        ("no token at all", "x.y.z"),
        ("another pod's", &stolen),
        ("one for the API server", for_the_api_server.trim()),
        ("one that is bound to no pod", for_nobody.trim()),
    ] {
        let answer = with(token).ok();
        assert!(answer.ends_with(" 401") && answer.contains("\"Unauthorized\""), "{whose}: {answer}");
    }
    assert!(!event(agent(), "AgentNotAuthenticated").is_empty());
}

#[test]
fn an_agents_token_is_worth_nothing_at_the_api_server_itself() {
    let ordinary = WORLD.pod(PodPlan::ordinary(unique("thief")));
    let with = |token: &str| {
        let line = format!(
            "curl -sS --max-time 20 --insecure -H 'Authorization: Bearer {token}' -o /dev/null -w '%{{http_code}}' https://10.96.0.1/api"
        );
        ordinary.sh(&line).ok()
    };
    assert_eq!(with(&token_of(&ordinary)), "200", "positive control");
    assert_eq!(with(&token_of(agent())), "401");
}

#[test]
fn asking_in_somebody_elses_name_is_refused() {
    let kubectl = format!(
        "kubectl --server=https://10.96.0.1 --certificate-authority={CREDENTIALS}/ca.crt --token=$(cat {CREDENTIALS}/token)"
    );
    let get = format!("{kubectl} get pods --namespace={}", WORLD.namespace);
    agent().sh(&get).ok();
    let said = agent().sh(&format!("{get} --as=system:admin")).refused();
    assert!(said.contains("asks to act as somebody else"), "{said}");
}

#[test]
fn a_bypass_attempt_makes_an_event_and_is_in_the_metrics() {
    let pod = WORLD.pod(PodPlan::agent(unique("sly"), Agent("chatgpt")));
    let guard = WORLD.guard_of(&pod);
    let counted = || guard.metrics().sum("guard_refusals_total", &[("hook", "sendmsg4"), ("reason", "control_plane")]);
    let before = counted();
    pod.probe("datagram --to 172.30.0.12:10250");
    let message = event(&pod, "BypassAttempt");
    assert!(message.contains("UDP to 172.30.0.12:10250"), "{message}");
    eventually("the refusal in the metrics", SOON, || if counted() > before { Ok(()) } else { Err(counted()) });
}

fn token_of(pod: &Pod) -> String {
    pod.sh(&format!("cat {CREDENTIALS}/token")).ok()
}

/// The message of the pod's event with this reason, waited for.
#[track_caller]
fn event(pod: &Pod, reason: &str) -> String {
    eventually(&format!("an event {reason} on {}", pod.name), SOON, || {
        let selector = format!("involvedObject.uid={},reason={reason}", pod.uid);
        let messages = WORLD
            .kubectl
            .run(["get", "events", "--field-selector", &selector, "-o", "jsonpath={.items[*].message}"])
            .ok();
        if messages.is_empty() { Err("none yet") } else { Ok(messages) }
    })
}
