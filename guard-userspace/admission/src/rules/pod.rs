//! What a pod as a whole must not be.

use super::{ALWAYS, CREATED, Rule, about_pod};
use crate::expression::{Test, item, pod, settings};

/// What Pod Security's `baseline` takes for safe, without `ip_local_reserved_ports`: the guard's listener has its port there.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

pub(super) fn rules() -> Vec<Rule> {
    let spec = |field: &str| pod("spec").at(field);
    let security = |field: &str| pod("spec.securityContext").at(field);
    vec![
        about_pod(
            "host-namespaces",
            ALWAYS,
            Test::All(["hostNetwork", "hostPID", "hostIPC"].map(|field| spec(field).not_true()).into()),
            "hostNetwork, hostPID and hostIPC put an agent beside the guard instead of behind it: remove them from the pod",
        ),
        about_pod(
            "shared-process-namespace",
            ALWAYS,
            spec("shareProcessNamespace").not_true(),
            "with shareProcessNamespace a container reads what others hold, the gate's credentials too: remove it from the pod; \
             kubectl debug --copy-to needs --share-processes=false",
        ),
        about_pod(
            "runtime-class",
            ALWAYS,
            spec("runtimeClassName").absent().or(spec("runtimeClassName").among(settings("runtimeClasses"))),
            "the sockets of a runtime with a kernel of its own (gVisor, Kata) are hidden from the guard: remove runtimeClassName, \
             or list it in agents.runtimeClasses of the guard's chart if its pods use the node's kernel",
        ),
        about_pod(
            "operating-system",
            ALWAYS,
            spec("os.name")
                .absent()
                .or(spec("os.name").is("linux"))
                .and(security("windowsOptions.hostProcess").not_true()),
            "only Linux pods can be guarded: set os.name to linux or remove it, and remove windowsOptions",
        ),
        about_pod(
            "sysctls",
            ALWAYS,
            security("sysctls").every("s", item("s").at("name").one_of(SYSCTLS)),
            "a sysctl of the pod's network can open a way that the guard doesn't know of, or take its listener's port: keep to \
             those of the Pod Security level baseline, without net.ipv4.ip_local_reserved_ports",
        ),
        about_pod(
            "seccomp-of-pod",
            ALWAYS,
            security("seccompProfile")
                .absent()
                .or(security("seccompProfile.type").one_of(&["RuntimeDefault", "Localhost"])),
            "an unconfined agent has system calls that the guard's proof leaves out: set securityContext.seccompProfile.type to \
             RuntimeDefault or remove it",
        ),
        about_pod(
            "mirror-pod",
            CREATED,
            pod("metadata.annotations").key("kubernetes.io/config.mirror").absent(),
            "a static pod never meets admission, so it can't be an agent: make it an ordinary pod, or remove the label \
             egressguard.io/agent and the annotation kubernetes.io/config.mirror",
        ),
    ]
}
