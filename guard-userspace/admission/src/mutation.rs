//! What admission changes in an agent pod: each change as CEL for the API server, and beside it as it is made here.
//!
//! Every change leaves alone what is right already: the API server asks again after other webhooks.

mod cel;

use serde_json::{Value, json};

use crate::expression::{Facts, literal, quoted};
use crate::facts::{self, is_leading, list};
use crate::names::{API_ACCESS_PREFIX, CA_ANNOTATION, GATE_CONTAINER, GATE_VOLUME, UPSTREAM_VOLUME};
use crate::parts::{self, Template};
use crate::request::{Action, Place};
use crate::settings::{Settings, Trust};

pub(crate) use cel::{ca, changes};

/// The pod as admission makes it.
pub(crate) fn mutated(settings: &Settings, place: &Place<'_>, action: &Action<'_>) -> Value {
    let facts = facts::pod_facts(settings, place, action);
    let mut pod = action.object.clone();
    if !has_the_shape_of_a_pod(&pod) {
        return pod;
    }
    if facts.is("created") {
        stamp(&facts, &mut pod);
        swap_credentials(&facts, &mut pod);
        add_volumes(&facts, &mut pod);
        add_gate(&facts, &mut pod);
        add_pull_secrets(&facts, &mut pod);
        set_seccomp(&mut pod);
        if settings.trust == Trust::Annotation
            && let Some(ca) = place.ca
        {
            pod["metadata"]["annotations"][CA_ANNOTATION] = json!(ca);
        }
        drop_net_raw(&facts, &mut pod, "containers", |_| true);
        drop_net_raw(&facts, &mut pod, "initContainers", |_| true);
    } else if facts.is("ephemeral") {
        let new = list(facts.get("containers")).to_vec();
        drop_net_raw(&facts, &mut pod, "ephemeralContainers", |c| new.contains(c));
    }
    pod
}

/// JSON Patch from one pod to the other: the parts that admission changes, each as a whole.
pub(crate) fn patch(from: &Value, to: &Value) -> Vec<Value> {
    let parts = [
        "/metadata/labels",
        "/metadata/annotations",
        "/spec/volumes",
        "/spec/initContainers",
        "/spec/containers",
        "/spec/ephemeralContainers",
        "/spec/imagePullSecrets",
        "/spec/securityContext",
    ];
    let changed = |path: &&&str| from.pointer(path) != to.pointer(path);
    parts.iter().filter(changed).map(|path| json!({"op": "add", "path": path, "value": to.pointer(path)})).collect()
}

/// The namespace's class, on a pod that has none.
fn stamp(facts: &Facts, pod: &mut Value) {
    if !facts.is("now") {
        pod["metadata"]["labels"][guard_api::AGENT_LABEL] = facts.get("class").clone();
    }
}

fn swap_credentials(facts: &Facts, pod: &mut Value) {
    let sources = parts::credentials().json(facts);
    for volume in items(pod, "volumes").iter_mut().filter(|volume| is_api_access(volume)) {
        volume["projected"]["sources"] = sources.clone();
    }
}

fn is_api_access(volume: &Value) -> bool {
    volume["name"].as_str().is_some_and(|name| name.starts_with(API_ACCESS_PREFIX)) && volume["projected"].is_object()
}

fn add_volumes(facts: &Facts, pod: &mut Value) {
    for (name, template) in own_volumes() {
        let made = template.json(facts);
        let volumes = items(pod, "volumes");
        match volumes.iter_mut().find(|volume| volume["name"] == name) {
            Some(volume) => *volume = made,
            None => volumes.push(made),
        }
    }
}

fn own_volumes() -> [(&'static str, Template); 2] {
    [(UPSTREAM_VOLUME, parts::upstream_volume()), (GATE_VOLUME, parts::gate_volume())]
}

/// Behind those that may lead, before all others.
fn add_gate(facts: &Facts, pod: &mut Value) {
    let leading = is_leading();
    let all = std::mem::take(items(pod, "initContainers"));
    let others = all.into_iter().filter(|c| !facts::is_gate(c));
    let (mut containers, behind): (Vec<Value>, Vec<Value>) = others.partition(|c| leading.holds_for("c", c, facts));
    containers.push(parts::gate().json(facts));
    containers.extend(behind);
    *items(pod, "initContainers") = containers;
}

fn add_pull_secrets(facts: &Facts, pod: &mut Value) {
    let wanted = list(&facts.get("settings")["imagePullSecrets"]).to_vec();
    if wanted.is_empty() {
        return;
    }
    let secrets = items(pod, "imagePullSecrets");
    for secret in wanted {
        if !secrets.contains(&secret) {
            secrets.push(secret);
        }
    }
}

fn set_seccomp(pod: &mut Value) {
    let context = &mut pod["spec"]["securityContext"];
    if context["seccompProfile"].is_null() {
        context["seccompProfile"] = json!({"type": "RuntimeDefault"});
    }
}

fn drop_net_raw(facts: &Facts, pod: &mut Value, field: &str, concerns: impl Fn(&Value) -> bool) {
    let leading = is_leading();
    if pod["spec"][field].is_null() {
        return;
    }
    for container in items(pod, field) {
        let exempt =
            field == "initContainers" && (facts::is_gate(container) || leading.holds_for("c", container, facts));
        let drop = &container["securityContext"]["capabilities"]["drop"];
        if exempt || !concerns(container) || list(drop).iter().any(|name| name == "ALL" || name == "NET_RAW") {
            continue;
        }
        let dropped = [list(drop), &[json!("NET_RAW")]].concat();
        container["securityContext"]["capabilities"]["drop"] = json!(dropped);
    }
}

/// Everything that is written to above is an object where there is one. The API server sends nothing else.
fn has_the_shape_of_a_pod(pod: &Value) -> bool {
    let is_object = |value: &Value| value.is_object() || value.is_null();
    let are_objects = |list: &Value, test: &dyn Fn(&Value) -> bool| {
        list.is_null() || list.as_array().is_some_and(|list| list.iter().all(|item| item.is_object() && test(item)))
    };
    let is_container = |container: &Value| {
        let context = &container["securityContext"];
        is_object(context) && is_object(&context["capabilities"])
    };
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    metadata.is_object()
        && spec.is_object()
        && [&metadata["labels"], &metadata["annotations"], &spec["securityContext"]].into_iter().all(is_object)
        && are_objects(&spec["volumes"], &|_| true)
        && are_objects(&spec["imagePullSecrets"], &|_| true)
        && ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .all(|field| are_objects(&spec[*field], &is_container))
}

/// A list of the pod's, made where there is none.
fn items<'a>(pod: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    let list = &mut pod["spec"][field];
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("it has just been made one")
}
