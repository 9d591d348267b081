//! A pod's network namespace, looked at before it is guarded: is it the pod's own, and does all of it leave through veth pairs?

use std::sync::Arc;

use guard_identity::PodUid;
use guard_kernel::Error;
use guard_kernel::interfaces::{self, HostSide};
use guard_kernel::netns::{Netns, NetnsId};
use thiserror::Error;

use crate::pod_cgroup::PodCgroup;
use crate::processes::{self, Placed};

/// A pod's network namespace that can be guarded.
#[derive(Debug)]
pub struct Network {
    /// The namespace, held open.
    pub netns: Netns,
    /// Which one it is.
    pub id: NetnsId,
    /// Its ways out, each with its end on the node.
    pub sides: Vec<HostSide>,
}

/// Why a pod is not served: its set stays closed, and nothing listens in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// `spec.hostNetwork`.
    #[error(
        "the pod uses the node's network (hostNetwork), where its traffic can't be told from the node's own. Its processes are cut off from the \
         control plane; recreate it without hostNetwork"
    )]
    HostNetwork,
    /// The guard's own.
    #[error(
        "the pod is the guard of this node, which would cut itself off. It is not closed and goes on; take the label egressguard.io/agent off it"
    )]
    Guard,
    /// The namespace is also another pod's.
    #[error(
        "the pod shares its network namespace with pod {other}, which would be guarded by mistake; recreate it with a network of its own"
    )]
    SharedNetwork {
        /// The other pod, as the node knows it.
        other: PodUid,
    },
    /// A way out that has no host side for the packet filter to stand on.
    #[error(
        "packets of interface {name} ({kind}) of the pod can't be filtered: {reason}. Recreate the pod without that network: SR-IOV, macvlan and \
         ipvlan pass by the node's side"
    )]
    Interface {
        /// Its name in the pod.
        name: String,
        /// Its kind, as `ip -d link` shows it.
        kind: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Enrolled by an earlier run; its label was taken off while no guard was watching, and with it the agent's class.
    #[error(
        "the label egressguard.io/agent was taken off while the guard was not running. The pod stays cut off from the control plane until it is \
         deleted; recreate it, with or without the label"
    )]
    LabelRemoved,
    /// Admission would have refused it.
    #[error(
        "the pod breaks the rule {rule} for agent pods, so it could get round the guard: {message}. It stays cut off from the control plane. \
         Admission refuses such pods: look whether its policies and their bindings are in place (guard doctor), and recreate the pod"
    )]
    Unsafe {
        /// The rule's name.
        rule: String,
        /// Why, and what to change.
        message: String,
    },
    /// The label came to a pod that was made without it.
    #[error(
        "the pod, or its namespace, got the label egressguard.io/agent after the pod was made: it lacks the guard's credentials (the volume \
         egress-guard-upstream), and its software trusts the cluster's CA instead of the guard's. Its connections to the control plane were cut \
         and stay refused. Put the label on the template of the Deployment, not on its pods (or on the namespace), and recreate the pod"
    )]
    CutOff,
}

/// What a look at a namespace shows.
#[derive(Debug)]
pub(crate) enum Findings {
    /// The runtime is still at work on it, or the process that led there is gone: look again.
    Unfinished,
    /// It can be guarded.
    Ready(Arc<Network>),
    /// It can't.
    Refused(Refusal),
}

/// Looks at the namespace of a pod's sandbox.
pub(crate) fn examine(cgroup: &PodCgroup, sandbox: Placed, pod: &PodUid, node: &Netns) -> Result<Findings, Error> {
    let netns = match Netns::of_process(sandbox.process.pid) {
        Ok(netns) => netns,
        Err(_) if !sandbox.process.runs() => return Ok(Findings::Unfinished),
        Err(error) => return Err(error),
    };
    // The process number may have passed to somebody else's process between the two looks: only what still holds counts.
    if netns.identity()? != sandbox.netns || !sandbox.process.is_in(&cgroup.path) || !cgroup.exists() {
        return Ok(Findings::Unfinished);
    }
    if let Some(other) = processes::other_pod_in(sandbox.netns, pod) {
        return Ok(Findings::Refused(Refusal::SharedNetwork { other }));
    }
    match interfaces::host_sides(&netns, node) {
        Ok(sides) if sides.iter().any(is_usable) => {
            Ok(Findings::Ready(Arc::new(Network { netns, id: sandbox.netns, sides })))
        }
        Ok(_) => Ok(Findings::Unfinished),
        Err(Error::SecondaryInterface { interface, kind, reason }) => {
            Ok(Findings::Refused(Refusal::Interface { name: interface, kind, reason }))
        }
        Err(error) => Err(error),
    }
}

/// The network plugin has done its work on this interface.
fn is_usable(side: &HostSide) -> bool {
    side.pod.up && !side.pod.addresses.is_empty()
}
