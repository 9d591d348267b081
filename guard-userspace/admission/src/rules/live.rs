//! What may not change while an agent pod lives.

use super::{Rule, When, about_containers, about_pod};
use crate::expression::{Test, fact, item, pod, settings};
use crate::facts::own_class;
use crate::names::{CA_ANNOTATION, GATE_CONTAINER};
use crate::parts::by_annotation;

const KEPT: &[When] = &[When::Kept];
const EPHEMERAL: &[When] = &[When::Ephemeral];

pub(super) fn rules() -> Vec<Rule> {
    let old = |path: &str| fact("old").at(path);
    let ca = || pod("metadata.annotations").key(CA_ANNOTATION);
    vec![
        about_pod(
            "label-kept",
            KEPT,
            own_class().same(old("metadata.labels").key(guard_api::AGENT_LABEL)),
            "the label egressguard.io/agent of a live pod is never removed or changed: delete the pod, and create it without the \
             label or with another",
        ),
        about_pod(
            "gate-kept",
            KEPT,
            pod("spec.initContainers").every(
                "c",
                Test::Any(vec![
                    !item("c").at("name").is(GATE_CONTAINER),
                    item("c").at("image").of_repository(settings("gate.repository")),
                    old("spec.initContainers").some(
                        "o",
                        item("o").at("name").is(GATE_CONTAINER).and(item("o").at("image").same(item("c").at("image"))),
                    ),
                ]),
            ),
            "the image of the init container egress-guard-gate is the guard's: leave it as it is",
        ),
        about_pod(
            "ca-kept",
            KEPT,
            Test::Any(vec![
                !by_annotation(),
                ca().same(old("metadata.annotations").key(CA_ANNOTATION)),
                fact("user").same(settings("guardServiceAccounts.control")),
            ]),
            "the annotation egressguard.io/ca holds the guard's CA, which the pod's clients trust, and only guard control changes it: leave it as it is",
        ),
        about_pod(
            "ephemeral-after-gate",
            EPHEMERAL,
            pod("status.conditions")
                .some("x", item("x").at("type").is("Initialized").and(item("x").at("status").is("True"))),
            "ephemeral containers start before the guard's gate has ended: try again when the pod's init containers have finished",
        ),
        about_containers(
            "ephemeral-target",
            EPHEMERAL,
            !item("it").at("targetContainerName").is(GATE_CONTAINER),
            "nobody enters the guard's gate: choose another container for --target",
        ),
    ]
}
