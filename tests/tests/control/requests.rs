//! Who asks for what, and gets it or not.

use std::collections::BTreeSet;

use guard_certificates::KeyAndRequest;
use guard_e2e::harness::{SOON, eventually, unique};
use serde_json::{Value, json};

use crate::BED;
use crate::bed::{NAMESPACE, kubeconfig};

/// Asks as the owner of this token; the request's name.
#[track_caller]
fn ask(token: &str, common_name: &str, names: &[&str], usages: &[&str]) -> String {
    let names: BTreeSet<_> = names.iter().map(|name| name.parse().expect("a name")).collect();
    let made = KeyAndRequest::new(common_name, &names).expect("a request");
    let name = unique("request");
    let file = kubeconfig(&BED.cluster, &BED.folder, &name, token);
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": base64(made.request_pem.as_bytes()), "signerName": "egressguard.io/serving", "usages": usages},
    });
    let mut kubectl = BED.kubectl.command(["create", "-f", "-"]);
    kubectl.env("KUBECONFIG", file);
    let answer = guard_e2e::harness::run(kubectl, &object.to_string());
    answer.ok();
    name
}

/// What became of it: the certificate, or the condition.
#[track_caller]
fn outcome(name: &str) -> Result<String, (String, String)> {
    eventually(&format!("an answer to request {name}"), SOON, || {
        let status = BED.kubectl.get("certificatesigningrequest", name)["status"].clone();
        if let Some(certificate) = status["certificate"].as_str() {
            return Ok(Ok(certificate.to_owned()));
        }
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let refused =
            conditions.iter().find(|condition| condition["type"] == "Denied" || condition["type"] == "Failed");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        refused
            .map(|condition| Err((text(&condition["reason"]), text(&condition["message"]))))
            .ok_or(format!("{status}"))
    })
}

const USAGES: &[&str] = &["digital signature", "server auth"];

#[track_caller]
fn token_of_node(node: usize) -> String {
    let name = format!("guard-{}", BED.cluster.nodes[node].name);
    let uid = BED.kubectl.get("pod", &name)["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let bound = ["--bound-object-kind=Pod", "--bound-object-name", &name, "--bound-object-uid", &uid];
    BED.kubectl.run(["create", "token", "egress-guard-node"].iter().chain(&bound)).ok().trim().to_owned()
}

#[test]
fn a_node_gets_a_leaf_for_the_api_servers_names() {
    let name = ask(
        &token_of_node(0),
        "egress-guard:node:n1",
        &["10.96.0.1", "kubernetes.default.svc", "api.example.com"],
        USAGES,
    );
    assert!(outcome(&name).is_ok());
}

#[test]
fn a_leaf_for_anything_else_is_denied_and_the_reason_said() {
    let token = token_of_node(0);
    for (names, usages, reason) in [
        (&["10.96.0.1", "evil.example.com"][..], USAGES, "ForeignNames"),
        (&["10.96.0.2"], USAGES, "ForeignNames"),
        (&["10.96.0.1"], &["digital signature", "server auth", "client auth"], "Usages"),
        (&[], USAGES, "NoName"),
    ] {
        let (said, message) = outcome(&ask(&token, "egress-guard:node:n1", names, usages)).expect_err("it is denied");
        assert_eq!(said, reason, "{message}");
    }
}

#[test]
fn a_node_gets_no_leaf_in_another_nodes_name() {
    let (reason, _) =
        outcome(&ask(&token_of_node(0), "egress-guard:node:n2", &["10.96.0.1"], USAGES)).expect_err("denied");
    assert_eq!(reason, "OtherNode");
}

#[test]
fn a_token_that_is_bound_to_no_pod_gets_nothing() {
    let token = BED.kubectl.run(["create", "token", "egress-guard-node"]).ok();
    let (reason, _) = outcome(&ask(token.trim(), "egress-guard:node:n1", &["10.96.0.1"], USAGES)).expect_err("denied");
    assert_eq!(reason, "NotBoundToANode");
}

#[test]
fn an_agent_gets_nothing_whatever_its_rights_even_if_somebody_approves() {
    let pod = &BED.first_agent;
    let token = BED.kubectl.run([
        "create",
        "token",
        "agent",
        "--bound-object-kind=Pod",
        "--bound-object-name",
        &pod.name,
        "--bound-object-uid",
        &pod.uid,
    ]);
    let name = ask(token.ok().trim(), "egress-guard:node:n1", &["10.96.0.1"], USAGES);
    let (reason, message) = outcome(&name).expect_err("it is denied");
    assert_eq!(reason, "NotANode");
    assert!(message.contains(&format!("system:serviceaccount:{NAMESPACE}:agent")), "{message}");
}

fn base64(bytes: &[u8]) -> String {
    let mut command = std::process::Command::new("base64");
    command.arg("--wrap=0");
    guard_e2e::harness::run(command, std::str::from_utf8(bytes).expect("PEM is text")).ok()
}
