//! `AdmissionReview` in, `AdmissionReview` out. Whoever serves it knows the namespace's labels and the CA; nothing here waits.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use guard_api::AGENT_LABEL;
use serde_json::{Value, json};

use crate::facts;
use crate::live;
use crate::mutation;
use crate::request::{Action, Place};
use crate::rules::{self, Violation};
use crate::settings::Settings;

/// Longest text of one refusal, in bytes: the API server passes it on as an HTTP status.
const MAX_TEXT: usize = 4096;

/// The namespace whose labels an answer needs, if the request is in one.
pub fn namespace(review: &Value) -> Option<&str> {
    review["request"]["namespace"].as_str().filter(|name| !name.is_empty())
}

/// Answers `/admission/mutate`: the patch that makes an agent pod safe to guard.
pub fn mutate(settings: &Settings, place: &Place<'_>, review: &Value) -> Value {
    let request = &review["request"];
    if kind(request) != "Pod" {
        return answer(request, &json!({"allowed": true}));
    }
    let action = action(request);
    let made = mutation::mutated(settings, place, &action);
    let patch = mutation::patch(action.object, &made);
    if patch.is_empty() {
        return answer(request, &json!({"allowed": true}));
    }
    let patch = BASE64_STANDARD.encode(Value::from(patch).to_string());
    answer(request, &json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}

/// Answers `/admission/validate`: whether the object may be stored; warnings for workloads.
pub fn validate(settings: &Settings, place: &Place<'_>, review: &Value) -> Value {
    let request = &review["request"];
    let action = action(request);
    let refused = |refused: bool, message: &str| if refused { vec![message.to_owned()] } else { Vec::new() };
    let texts = |violations: Vec<Violation>| violations.into_iter().map(|violation| violation.message).collect();
    let reasons: Vec<String> = match kind(request) {
        "Pod" => {
            let facts = facts::pod_facts(settings, place, &action);
            let is_agent = ["created", "kept", "now"].iter().any(|fact| facts.is(fact));
            if is_agent {
                texts(rules::broken(&facts))
            } else {
                refused(action.operation == "CREATE" && live::pod_is_copy(action.object), live::COPY)
            }
        }
        "PodExecOptions" | "PodAttachOptions" => refused(live::options_enter_gate(action.object), live::CONNECTION),
        "Binding" => refused(live::binding_carries_ours(action.object), live::BINDING),
        "Secret" => refused(live::holds_token(action.object), live::NEW_TOKEN_SECRET),
        workload => {
            let warnings = warnings(settings, place, workload, action.object);
            return answer(request, &json!({"allowed": true, "warnings": warnings}));
        }
    };
    if reasons.is_empty() {
        return answer(request, &json!({"allowed": true}));
    }
    let mut text = reasons.join("; ");
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
    answer(request, &json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": text}}))
}

/// What a workload's pods will be refused for.
fn warnings(settings: &Settings, place: &Place<'_>, kind: &str, workload: &Value) -> Vec<String> {
    let template = match kind {
        "CronJob" => &workload["spec"]["jobTemplate"]["spec"]["template"],
        "PodTemplate" => &workload["template"],
        _ => &workload["spec"]["template"],
    };
    let facts = facts::template_facts(settings, place, template);
    if facts.is("now") || facts::namespace_class().present().holds(&facts) {
        return rules::broken_by_template(&facts).into_iter().map(|violation| violation.message).collect();
    }
    let labelled = !workload["metadata"]["labels"][AGENT_LABEL].is_null();
    if labelled { vec![live::UNLABELLED_TEMPLATE.to_owned()] } else { Vec::new() }
}

fn kind(request: &Value) -> &str {
    request["kind"]["kind"].as_str().unwrap_or_default()
}

fn action(request: &Value) -> Action<'_> {
    Action {
        operation: request["operation"].as_str().unwrap_or_default(),
        sub_resource: request["subResource"].as_str().unwrap_or_default(),
        user: request["userInfo"]["username"].as_str().unwrap_or_default(),
        object: &request["object"],
        old: &request["oldObject"],
    }
}

/// The uid is the request's: the API server takes no other answer.
fn answer(request: &Value, response: &Value) -> Value {
    let mut response = response.clone();
    response["uid"] = request["uid"].clone();
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}
