//! The webhook: served by every replica, by a certificate of the cluster's own authority.

use guard_e2e::harness::{SOON, eventually};
use serde_json::{Value, json};

use crate::BED;
use crate::bed::Control;

#[test]
fn every_replica_answers_reviews_under_the_name_of_the_service() {
    let _turn = BED.turn();
    let pod = json!({
        "metadata": {"name": "bot", "namespace": "default", "labels": {"egressguard.io/agent": "ci-bot"}},
        "spec": {"hostNetwork": true, "containers": [{"name": "main", "image": "x"}]},
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "4c0f", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "default", "operation": "CREATE",
            "userInfo": {"username": "somebody"}, "object": pod, "oldObject": null,
        },
    });
    for control in &BED.controls {
        let answer = post(control, "/admission/validate", &review);
        assert_eq!(
            (&answer["response"]["uid"], &answer["response"]["allowed"]),
            (&json!("4c0f"), &json!(false)),
            "{answer}"
        );
        assert!(
            answer["response"]["status"]["message"].as_str().is_some_and(|text| text.contains("hostNetwork")),
            "{answer}"
        );
    }
}

#[test]
fn what_is_no_review_is_answered_with_an_error_and_ends_nothing() {
    let _turn = BED.turn();
    let control = &BED.controls[0];
    let answer = post_text(control, "/admission/validate", "nonsense");
    assert!(answer.contains("no AdmissionReview"), "{answer}");
    let answer = post_text(control, "/elsewhere", "{}");
    assert!(answer.contains("/admission/mutate"), "{answer}");
}

#[test]
fn the_webhook_configuration_is_told_whom_to_trust() {
    let _turn = BED.turn();
    eventually("the CA in the configuration", SOON, || {
        let object = BED.kubectl.get("validatingwebhookconfiguration", "egress-guard");
        let told = object["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned();
        let mut decode = std::process::Command::new("base64");
        decode.arg("--decode");
        let told = guard_e2e::harness::run(decode, &told).out;
        if told == BED.bundle() { Ok(()) } else { Err(told) }
    });
}

#[track_caller]
fn post(control: &Control, path: &str, review: &Value) -> Value {
    let text = post_text(control, path, &review.to_string());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn post_text(control: &Control, path: &str, body: &str) -> String {
    let name = "egress-guard-control.egress-guard.svc";
    let port = control.port + 1;
    let ca = BED.folder.join("ca.crt");
    std::fs::write(&ca, BED.bundle()).expect("a file in the cluster's folder");
    let mut curl = control.netns().command("curl");
    curl.args(["-sS", "--max-time", "20", "--data-binary", "@-", "--resolve", &format!("{name}:{port}:127.0.0.1")]);
    curl.arg("--cacert").arg(&ca).arg(format!("https://{name}:{port}{path}"));
    guard_e2e::harness::run(curl, body).ok()
}
