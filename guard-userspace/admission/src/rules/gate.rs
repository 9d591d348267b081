//! What admission adds, as it has to be in the stored pod, whoever else changed the pod after it.

use serde_json::json;

use super::{CREATED, Rule, about_pod, about_volumes};
use crate::expression::{Term, Test, fact, item, pod, settings};
use crate::names::{
    API_ACCESS_PREFIX, CA_ANNOTATION, CREDENTIALS, GATE_CONTAINER, GATE_CREDENTIALS, GATE_USER, GATE_VOLUME,
    UPSTREAM_MOUNT, UPSTREAM_VOLUME,
};
use crate::parts::{self, by_annotation};

/// All that a gate has, and what the API server adds by itself.
const FIELDS: &[&str] = &[
    "command",
    "env",
    "image",
    "imagePullPolicy",
    "name",
    "resources",
    "securityContext",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
];

/// Of a policy of its own, which needs the CA: other changes of agent pods go on without it.
pub(super) fn ca_rules() -> Vec<Rule> {
    vec![about_pod(
        "ca-annotation",
        CREATED,
        (!by_annotation()).or(ca().same(fact("ca")).and(!ca().is(""))),
        "the annotation egressguard.io/ca doesn't hold the guard's CA: remove it; admission stamps it. If it is missing, check \
             the ConfigMap egress-guard-ca in the guard's namespace, which guard control writes",
    )]
}

pub(super) fn rules() -> Vec<Rule> {
    let gate = |field: &str| fact("gate").at(field);
    vec![
        about_pod(
            "gate-first",
            CREATED,
            gate("name").is(GATE_CONTAINER),
            "the guard's gate egress-guard-gate is not the first init container, so something would run before the pod is proven \
             to be guarded: check that the guard's mutating policy, or its webhook, is there and has its binding, and list an init \
             container that must come before it in agents.leadingInitContainers of the guard's chart",
        ),
        about_pod(
            "gate-program",
            CREATED,
            Test::All(vec![
                gate("image").of_repository(settings("gate.repository")),
                gate("command").is(parts::command()),
                fact("gate").has_only(FIELDS),
                message_path(gate("terminationMessagePath")),
            ]),
            "the init container egress-guard-gate is not the guard's own: remove yours; admission adds the guard's",
        ),
        about_pod(
            "gate-hardened",
            CREATED,
            Test::All(vec![
                gate("securityContext.runAsUser").is(GATE_USER),
                gate("securityContext.runAsNonRoot").is(true),
                gate("securityContext.readOnlyRootFilesystem").is(true),
                gate("securityContext.allowPrivilegeEscalation").is(false),
                gate("securityContext.capabilities").is(json!({"drop": ["ALL"]})),
            ]),
            "another webhook has loosened the securityContext of the init container egress-guard-gate: exempt that container there",
        ),
        about_pod(
            "gate-additions",
            CREATED,
            gate("env")
                .every("x", item("x").at("name").among(settings("gate.toleratedEnv")))
                .and(gate("volumeMounts").every("x", is_mount())),
            "something was put into the init container egress-guard-gate that could change what it proves: exempt that container in \
             the webhook that adds environment variables or mounts to every container, or list them in gate.toleratedEnv or \
             gate.toleratedMounts of the guard's chart",
        ),
        about_pod(
            "gate-mounts",
            CREATED,
            mounts(UPSTREAM_VOLUME, UPSTREAM_MOUNT).and(mounts(GATE_VOLUME, GATE_CREDENTIALS)),
            "the init container egress-guard-gate lacks its credentials: remove yours of that name; admission adds the guard's",
        ),
        about_pod(
            "gate-credentials",
            CREATED,
            pod("spec.volumes")
                .some("v", is(&parts::upstream_volume()))
                .and(pod("spec.volumes").some("v", is(&parts::gate_volume()))),
            "a volume egress-guard-upstream or egress-guard-gate is missing or another than the guard's: remove yours of that name; \
             admission adds the guard's",
        ),
        about_volumes(
            "swapped-credentials",
            CREATED,
            (!item("it").at("name").starts_with(API_ACCESS_PREFIX))
                .or(Test::Made(item("it").at("projected.sources"), parts::credentials())),
            "the pod holds the API server's own credentials: check that the guard's mutating policy, or its webhook, is there and has \
             its binding, and that no other webhook changes this volume",
        ),
    ]
}

fn ca() -> Term {
    pod("metadata.annotations").key(CA_ANNOTATION)
}

/// The kubelet makes a file there in the container.
fn message_path(path: Term) -> Test {
    path.clone().absent().or(path.is("/dev/termination-log"))
}

/// The mount `x` of the gate is one that belongs to it.
fn is_mount() -> Test {
    let at = |name: Test, path: &str| name.and(item("x").at("mountPath").is(path));
    let name = || item("x").at("name");
    Test::Any(vec![
        at(name().is(UPSTREAM_VOLUME), UPSTREAM_MOUNT),
        at(name().is(GATE_VOLUME), GATE_CREDENTIALS),
        at(name().starts_with(API_ACCESS_PREFIX), CREDENTIALS),
        item("x").at("mountPath").among(settings("gate.toleratedMounts")),
    ])
}

/// The gate mounts the whole of a volume at a path.
fn mounts(volume: &str, path: &str) -> Test {
    fact("gate").at("volumeMounts").some(
        "x",
        Test::All(vec![
            item("x").at("name").is(volume),
            item("x").at("mountPath").is(path),
            item("x").at("subPath").absent(),
            item("x").at("subPathExpr").absent(),
        ]),
    )
}

/// The volume `v` is what this makes.
fn is(volume: &parts::Template) -> Test {
    Test::Made(item("v"), volume.clone())
}
