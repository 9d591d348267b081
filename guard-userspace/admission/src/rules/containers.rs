//! What no container of an agent pod may be, init and ephemeral ones included.

use super::{ALWAYS, Rule, SET, about_containers, about_pod};
use crate::expression::{Term, Test, item, pod, settings};
use crate::names::{GATE_CONTAINER, GATE_VOLUME, UPSTREAM_VOLUME};

/// What containerd and CRI-O give a container anyway, without `NET_RAW` and `MKNOD`. Only in this spelling: runtimes take others (`all`,
/// `Net_Admin`, `CAP_…`) for the same.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// What the kubelet calls on a pod's behalf, from the node's own network namespace.
const HANDLERS: [&str; 5] =
    ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"];
const CONFINED: &[&str] = &["RuntimeDefault", "Localhost"];

pub(super) fn rules() -> Vec<Rule> {
    let security = |field: &str| item("it").at("securityContext").at(field);
    let no_host = |handler: &str, call: &str| {
        let host = item("it").at(handler).at(call).at("host");
        host.clone().absent().or(host.is(""))
    };
    vec![
        about_containers(
            "privileged",
            ALWAYS,
            security("privileged").not_true(),
            "a privileged container can take the guard away: remove securityContext.privileged",
        ),
        about_containers(
            "capabilities",
            ALWAYS,
            security("capabilities.add").every(
                "x",
                item("x").one_of(CAPABILITIES).or(is_leading_with(item("x").among(item("l").at("capabilities")))),
            ),
            "a capability beyond those of an ordinary container can lead round the guard: keep securityContext.capabilities.add to \
             AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, NET_BIND_SERVICE, SETFCAP, SETGID, SETPCAP, SETUID and SYS_CHROOT, \
             in this spelling; kubectl debug needs --profile=restricted",
        ),
        about_containers(
            "net-raw",
            SET,
            security("capabilities.drop")
                .some("x", item("x").one_of(&["ALL", "NET_RAW"]))
                .or(is_leading_with(item("l").at("capabilities").some("y", item("y").is("NET_RAW")))),
            "with NET_RAW, which runtimes give every container, an agent writes packets of its own making: add NET_RAW or ALL to \
             securityContext.capabilities.drop",
        ),
        about_containers(
            "proc-mount",
            ALWAYS,
            security("procMount").absent().or(security("procMount").is("Default")),
            "an unmasked /proc shows and sets what is the node's: remove securityContext.procMount",
        ),
        about_containers(
            "seccomp",
            ALWAYS,
            security("seccompProfile").absent().or(security("seccompProfile.type").one_of(CONFINED)),
            "an unconfined agent has system calls that the guard's proof leaves out: set securityContext.seccompProfile.type to \
             RuntimeDefault or remove it",
        ),
        about_containers(
            "seccomp-set",
            SET,
            security("seccompProfile.type").one_of(CONFINED).or(security("seccompProfile")
                .absent()
                .and(pod("spec.securityContext.seccompProfile.type").one_of(CONFINED))),
            "the container has no seccomp profile: set securityContext.seccompProfile.type to RuntimeDefault, on the pod or on the \
             container",
        ),
        about_containers(
            "host-process",
            ALWAYS,
            security("windowsOptions.hostProcess").not_true(),
            "only Linux containers can be guarded: remove securityContext.windowsOptions",
        ),
        about_containers(
            "handler-host",
            ALWAYS,
            Test::All(
                HANDLERS
                    .iter()
                    .flat_map(|handler| [no_host(handler, "httpGet"), no_host(handler, "tcpSocket")])
                    .collect(),
            ),
            "the kubelet makes the calls of probes and lifecycle hooks from the node, past the guard, so an agent's name no host: \
             remove host, and the pod itself is called",
        ),
        about_containers(
            "host-port",
            ALWAYS,
            item("it").at("ports").every("x", item("x").at("hostPort").absent().or(item("x").at("hostPort").is(0))),
            "a hostPort can take a port of the node that belongs to the control plane: remove it and use a Service",
        ),
        about_containers(
            "gate-volumes",
            ALWAYS,
            item("it").at("name").is(GATE_CONTAINER).or(item("it")
                .at("volumeMounts")
                .every("x", !item("x").at("name").one_of(&[UPSTREAM_VOLUME, GATE_VOLUME]))),
            "the volumes egress-guard-upstream and egress-guard-gate hold credentials of the guard's gate: remove their \
             volumeMounts",
        ),
        about_pod(
            "gate-name",
            ALWAYS,
            named_otherwise(pod("spec.containers")).and(named_otherwise(pod("spec.ephemeralContainers"))),
            "egress-guard-gate is the name of the guard's own init container: call the container something else",
        ),
    ]
}

/// The container `it` is one that may come before the gate, and more holds for its entry `l` in the settings.
fn is_leading_with(more: Test) -> Test {
    settings("leadingInitContainers").some(
        "l",
        Test::All(vec![
            item("it").at("name").same(item("l").at("name")),
            item("it").at("image").of_repository(item("l").at("repository")),
            pod("spec.initContainers").some("o", item("o").at("name").same(item("it").at("name"))),
            more,
        ]),
    )
}

fn named_otherwise(containers: Term) -> Test {
    containers.every("c", !item("c").at("name").is(GATE_CONTAINER))
}
