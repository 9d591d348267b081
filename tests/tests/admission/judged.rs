//! The table against the API server and against the judge in the guard.

use guard_admission::{Violation, judge, mutate};
use serde_json::{Value, json};

use crate::installation::{AREA, Installation};
use crate::table::{End, Row};

/// Creates the pod of each row and looks at what was stored.
#[track_caller]
pub(crate) fn all_end_as_the_table_says(installation: &Installation, rows: &[Row]) {
    let wrong: Vec<String> = rows.iter().filter_map(|row| ends_otherwise(installation, row)).collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// What is wrong with how a row ends.
fn ends_otherwise(installation: &Installation, row: &Row) -> Option<String> {
    let namespace = row.namespace(installation);
    let sent = row.pod();
    let reply = AREA.api.create(&format!("/api/v1/namespaces/{namespace}/pods"), &sent);
    let said = reply.body["message"].as_str().unwrap_or_default().to_owned();
    let is = |wrong: &str| Some(format!("{}: {wrong} ({}: {said})", row.name, reply.status));
    let place = if namespace == crate::installation::GUARD { None } else { Some(installation.place(namespace)) };
    match row.end {
        End::Refused(rule) => {
            if reply.status < 400 {
                return is("was stored");
            }
            let Some(place) = place else {
                return (!said.contains("guard's own namespace")).then(|| is("another reason"))?;
            };
            // Our own judge has the same first reason, of the pod that our own mutation makes.
            let settings = &installation.settings;
            let found = judge(settings, &place, &applied(&sent, &mutate(settings, &place, &sent)));
            match found.first() {
                Some(Violation { rule: first, message }) if *first == rule && said.contains(message.as_str()) => None,
                _ => is(&format!("our own judge says {found:?}")),
            }
        }
        End::Invalid => (reply.status != 422 || said.contains("ValidatingAdmissionPolicy")).then(|| is("is a pod"))?,
        End::Ordinary => {
            let untouched = reply.body["spec"]["initContainers"].is_null();
            (reply.status != 201 || !untouched).then(|| is("was not left alone"))?
        }
        End::Agent => {
            if reply.status != 201 {
                return is("was refused");
            }
            let place = place.expect("no agent is in the guard's namespace");
            let broken = judge(&installation.settings, &place, &reply.body);
            let more = mutate(&installation.settings, &place, &as_sent(&reply.body));
            (!broken.is_empty() || !more.is_empty())
                .then(|| is(&format!("{broken:?}, and our own mutation adds {}", json!(more))))?
        }
    }
}

/// Without what the API server adds to the gate by itself.
fn as_sent(stored: &Value) -> Value {
    let mut pod = stored.clone();
    let containers = pod["spec"]["initContainers"].as_array_mut().into_iter().flatten();
    for gate in containers.filter(|c| c["name"] == guard_admission::GATE_CONTAINER).filter_map(Value::as_object_mut) {
        gate.remove("terminationMessagePath");
        gate.remove("terminationMessagePolicy");
    }
    pod
}

/// The patch, applied: its operations set whole fields.
fn applied(pod: &Value, patch: &[Value]) -> Value {
    let mut pod = pod.clone();
    for operation in patch {
        let pointer = operation["path"].as_str().expect("a path");
        let (part, field) = pointer[1..].split_once('/').expect("two fields");
        pod[part][field] = operation["value"].clone();
    }
    pod
}
