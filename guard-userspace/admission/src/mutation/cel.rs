//! The same changes as expressions of a `MutatingAdmissionPolicy`.
//!
//! Each sees what those before it have made of `object`. Variables are evaluated once, so what moves isn't read through them.

use super::{API_ACCESS_PREFIX, CA_ANNOTATION, GATE_CONTAINER, literal, own_volumes, quoted};
use crate::facts::is_leading;
use crate::parts;

/// The changes, in their order.
pub(crate) fn changes() -> Vec<String> {
    let mut changes = vec![stamp(), swap_credentials()];
    changes.extend(own_volumes().map(|(name, template)| add_volume(name, &template.cel())));
    changes.extend([add_gate(), add_pull_secrets(), set_seccomp()]);
    changes.extend(["containers", "initContainers", "ephemeralContainers"].map(drop_net_raw));
    changes
}

/// Stamps the CA, which is the policy's parameter.
pub(crate) fn ca() -> String {
    let ca = "params.data[\"ca.crt\"]";
    let path = format!("/metadata/annotations/{}", CA_ANNOTATION.replace('/', "~1"));
    created(&format!(
        "has(object.metadata.annotations) ? [JSONPatch{{op: \"add\", path: {}, value: {ca}}}] : \
         [JSONPatch{{op: \"add\", path: \"/metadata/annotations\", value: {{{}: {ca}}}}}]",
        quoted(&path),
        quoted(CA_ANNOTATION)
    ))
}

fn created(then: &str) -> String {
    format!("!variables.created ? [] : ({then})")
}

fn stamp() -> String {
    let label = guard_api::AGENT_LABEL;
    created(&format!(
        "variables.now ? [] : has(object.metadata.labels) ? \
         [JSONPatch{{op: \"add\", path: {}, value: string(variables.class)}}] : \
         [JSONPatch{{op: \"add\", path: \"/metadata/labels\", value: {{{}: string(variables.class)}}}}]",
        quoted(&format!("/metadata/labels/{}", label.replace('/', "~1"))),
        quoted(label)
    ))
}

fn swap_credentials() -> String {
    created(&format!(
        "object.spec.?volumes.orValue(dyn([])).transformList(i, v, string(v.name).startsWith({}) && has(v.projected), \
         JSONPatch{{op: \"replace\", path: \"/spec/volumes/\" + string(i) + \"/projected/sources\", value: {}}})",
        quoted(API_ACCESS_PREFIX),
        parts::credentials().cel()
    ))
}

fn add_volume(name: &str, volume: &str) -> String {
    let name = quoted(name);
    created(&format!(
        "!has(object.spec.volumes) ? [JSONPatch{{op: \"add\", path: \"/spec/volumes\", value: [{volume}]}}] : \
         object.spec.volumes.exists(v, v.name == {name}) ? \
         object.spec.volumes.transformList(i, v, v.name == {name}, \
         JSONPatch{{op: \"replace\", path: \"/spec/volumes/\" + string(i), value: {volume}}}) : \
         [JSONPatch{{op: \"add\", path: \"/spec/volumes/-\", value: {volume}}}]"
    ))
}

fn add_gate() -> String {
    let (leading, gate) = (is_leading().cel(), quoted(GATE_CONTAINER));
    let inits = "object.spec.?initContainers.orValue(dyn([]))";
    created(&format!(
        "[JSONPatch{{op: \"add\", path: \"/spec/initContainers\", value: \
         {inits}.filter(c, c.name != {gate} && {leading}) + dyn([dyn({})]) + {inits}.filter(c, c.name != {gate} && !({leading}))}}]",
        parts::gate().cel()
    ))
}

fn add_pull_secrets() -> String {
    let own = "object.spec.?imagePullSecrets.orValue(dyn([]))";
    let missing = format!("variables.settings.imagePullSecrets.filter(s, !{own}.exists(o, o.name == s.name))");
    created(&format!(
        "size({missing}) == 0 ? [] : [JSONPatch{{op: \"add\", path: \"/spec/imagePullSecrets\", value: {own} + {missing}}}]"
    ))
}

fn set_seccomp() -> String {
    created(
        "object.spec.?securityContext.?seccompProfile.hasValue() ? [] : has(object.spec.securityContext) ? \
         [JSONPatch{op: \"add\", path: \"/spec/securityContext/seccompProfile\", value: {\"type\": \"RuntimeDefault\"}}] : \
         [JSONPatch{op: \"add\", path: \"/spec/securityContext\", value: {\"seccompProfile\": {\"type\": \"RuntimeDefault\"}}}]",
    )
}

fn drop_net_raw(field: &str) -> String {
    let concerned = match field {
        "initContainers" => {
            format!("variables.created && c.name != {} && !({})", quoted(GATE_CONTAINER), is_leading().cel())
        }
        "ephemeralContainers" => "variables.ephemeral && variables.containers.exists(n, n.name == c.name)".to_owned(),
        _ => "variables.created".to_owned(),
    };
    let drop = "c.?securityContext.?capabilities.?drop";
    let capability = literal(&serde_json::json!(["NET_RAW"]));
    format!(
        "object.spec.?{field}.orValue(dyn([])).transformList(i, c, {concerned} && \
         !{drop}.orValue(dyn([])).exists(x, x in [\"ALL\", \"NET_RAW\"]), \
         JSONPatch{{op: \"add\", path: \"/spec/{field}/\" + string(i) + \"/securityContext\" + \
         (!has(c.securityContext) ? \"\" : !has(c.securityContext.capabilities) ? \"/capabilities\" : \"/capabilities/drop\"), \
         value: !has(c.securityContext) ? dyn({{\"capabilities\": {{\"drop\": {capability}}}}}) : \
         !has(c.securityContext.capabilities) ? dyn({{\"drop\": {capability}}}) : dyn({drop}.orValue(dyn([])) + {capability})}})"
    )
}
