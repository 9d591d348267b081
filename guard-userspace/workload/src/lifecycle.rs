//! One pod's way from known to released. Every step that touches the kernel goes through [`Enforcement`].
//!
//! ```text
//! Known ─▶ CgroupAttached ─▶ Guarded ─▶ Released
//!                 └────────▶ Refused ─▶
//! ```
//! From `CgroupAttached` on the control-plane set is closed to the pod; `Guarded` alone opens the door to the proxy.

use std::sync::Arc;

use guard_identity::{PodUid, Workload, WorkloadId};
use guard_kernel::netns::NetnsId;

use crate::network::{Network, Refusal};
use crate::pod::PodRecord;
use crate::pod_cgroup::PodCgroup;

/// What the kernel is asked to do for a pod. Every step may be repeated.
pub trait Enforcement: Send + Sync + 'static {
    /// A listener inside a pod that accepts until it is dropped.
    type Door: Send;
    /// Why a step failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Closes the control-plane set to what runs in this cgroup and below.
    fn attach_cgroup(&self, pod: &PodRecord, cgroup: &PodCgroup) -> Result<WorkloadId, Self::Error>;
    /// Closes the set to packets that leave this namespace, and cuts the connections that it has there already.
    fn attach_network(&self, id: WorkloadId, network: &Arc<Network>) -> Result<(), Self::Error>;
    /// Opens a listener in this namespace and points the pod's connections to it.
    fn open_door(
        &self,
        workload: Arc<Workload>,
        cgroup: &PodCgroup,
        network: &Arc<Network>,
    ) -> Result<Self::Door, Self::Error>;
    /// Takes everything away that an earlier step made for this pod. Nothing there is no error.
    fn release(&self, pod: &PodUid) -> Result<(), Self::Error>;
}

/// Where a pod stands.
#[derive(Debug)]
pub enum Stage<Door> {
    /// Its cgroup isn't there yet.
    Known,
    /// The set is closed to its cgroup; its network isn't there yet.
    CgroupAttached {
        /// The node's number for it.
        id: WorkloadId,
    },
    /// It is served.
    Guarded {
        /// The node's number for it.
        id: WorkloadId,
        /// The namespace that its door is in.
        netns: NetnsId,
        /// Held for its drop alone.
        door: Door,
    },
    /// It is closed and stays so.
    Refused {
        /// The node's number for it.
        id: WorkloadId,
        /// The namespace that was refused; none where no namespace would do.
        netns: Option<NetnsId>,
        /// Why.
        refusal: Refusal,
    },
    /// Nothing of it is left in the kernel.
    Released,
}

/// What people should hear about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It is served.
    Guarded,
    /// It is closed and stays so.
    Refused(Refusal),
    /// A step failed and is tried again.
    Failed {
        /// The error with its causes.
        error: String,
    },
}

/// A pod and where it stands.
pub struct Lifecycle<E: Enforcement> {
    enforcement: Arc<E>,
    pod: PodRecord,
    stage: Stage<E::Door>,
}

impl<E: Enforcement> Lifecycle<E> {
    /// A pod that nothing was done for yet, by this run.
    pub fn new(enforcement: Arc<E>, pod: PodRecord) -> Self {
        Self { enforcement, pod, stage: Stage::Known }
    }

    /// The pod.
    pub fn pod(&self) -> &PodRecord {
        &self.pod
    }

    /// Where it stands.
    pub fn stage(&self) -> &Stage<E::Door> {
        &self.stage
    }

    /// The pod object has changed. A class once known stays: taking the label off frees nobody.
    pub fn update(&mut self, pod: PodRecord) {
        if self.pod.identity.uid != pod.identity.uid {
            // Another object had claimed this pod's place: nothing of what it said counts. What is attached stays, and is attached once more.
            self.pod = pod;
            self.stage = Stage::Known;
            return;
        }
        let class = self.pod.class.clone().or(pod.class.clone());
        let labelled = self.pod.class.is_none() && class.is_some();
        // Its label is gone, and with it what was found wrong: nothing of that became right.
        let violation = if pod.class.is_none() { self.pod.violation.clone() } else { pod.violation.clone() };
        let judged_anew = violation != self.pod.violation;
        self.pod = PodRecord { class, violation, ..pod };
        if let (true, Stage::Guarded { id, .. } | Stage::Refused { id, refusal: Refusal::Unsafe { .. }, .. }) =
            (judged_anew, &self.stage)
        {
            // The door closes with the stage; what follows from the new judgement, the next look at the network brings.
            self.stage = Stage::CgroupAttached { id: *id };
        }
        if let (true, Stage::Refused { id, refusal: Refusal::LabelRemoved, .. }) = (labelled, &self.stage) {
            self.stage = Stage::CgroupAttached { id: *id };
        }
    }

    /// The pod's cgroup is there.
    pub fn cgroup_found(&mut self, cgroup: &PodCgroup) -> Result<Option<Notice>, E::Error> {
        if !matches!(self.stage, Stage::Known | Stage::Released) {
            return Ok(None);
        }
        let id = self.enforcement.attach_cgroup(&self.pod, cgroup)?;
        self.stage = Stage::CgroupAttached { id };
        if self.pod.host_network { Ok(Some(self.refuse(id, None, Refusal::HostNetwork))) } else { Ok(None) }
    }

    /// This is the namespace that the pod's stage was decided for, or no namespace would change it.
    pub fn is_settled(&self, netns: NetnsId) -> bool {
        match &self.stage {
            Stage::Guarded { netns: settled, .. } => *settled == netns,
            Stage::Refused { netns: settled, .. } => settled.is_none_or(|settled| settled == netns),
            Stage::Known | Stage::CgroupAttached { .. } | Stage::Released => false,
        }
    }

    /// The pod's network is there, or there again after its sandbox was made anew.
    pub fn network_found(&mut self, cgroup: &PodCgroup, network: &Arc<Network>) -> Result<Option<Notice>, E::Error> {
        let Some(id) = self.reopen() else { return Ok(None) };
        self.enforcement.attach_network(id, network)?;
        let Some(class) = self.pod.class.clone() else {
            return Ok(Some(self.refuse(id, Some(network.id), Refusal::LabelRemoved)));
        };
        if !self.pod.has_upstream_volume {
            return Ok(Some(self.refuse(id, Some(network.id), Refusal::CutOff)));
        }
        if let Some(violation) = &self.pod.violation {
            let (rule, message) = (violation.rule.clone(), violation.message.clone());
            return Ok(Some(self.refuse(id, Some(network.id), Refusal::Unsafe { rule, message })));
        }
        let workload =
            Arc::new(Workload { id, pod: self.pod.identity.clone(), class, labels: self.pod.labels.clone() });
        let door = self.enforcement.open_door(workload, cgroup, network)?;
        self.stage = Stage::Guarded { id, netns: network.id, door };
        Ok(Some(Notice::Guarded))
    }

    /// The pod's network is there, and can't be guarded.
    pub fn network_refused(&mut self, netns: NetnsId, refusal: Refusal) -> Option<Notice> {
        let id = self.reopen()?;
        Some(self.refuse(id, Some(netns), refusal))
    }

    /// The pod's last process is gone.
    pub fn release(&mut self) -> Result<(), E::Error> {
        // The door first: once the pod's entries are gone, so is the name of who is calling.
        self.stage = Stage::Known;
        self.enforcement.release(&self.pod.node_uid)?;
        self.stage = Stage::Released;
        Ok(())
    }

    /// Back to the closed set, with no door; the number of the pod unless nothing is attached.
    fn reopen(&mut self) -> Option<WorkloadId> {
        let id = match &self.stage {
            Stage::Known | Stage::Released => return None,
            Stage::CgroupAttached { id } | Stage::Guarded { id, .. } | Stage::Refused { id, .. } => *id,
        };
        self.stage = Stage::CgroupAttached { id };
        Some(id)
    }

    fn refuse(&mut self, id: WorkloadId, netns: Option<NetnsId>, refusal: Refusal) -> Notice {
        self.stage = Stage::Refused { id, netns, refusal: refusal.clone() };
        Notice::Refused(refusal)
    }
}

impl Notice {
    /// The event's reason: one word in Kubernetes' style.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Guarded => "AgentGuarded",
            Self::Refused(Refusal::HostNetwork) => "AgentHostNetwork",
            Self::Refused(Refusal::Guard) => "AgentIsGuard",
            Self::Refused(Refusal::SharedNetwork { .. }) => "AgentSharedNetwork",
            Self::Refused(Refusal::Interface { .. }) => "AgentUnguardedInterface",
            Self::Refused(Refusal::LabelRemoved) => "AgentLabelRemoved",
            Self::Refused(Refusal::CutOff) => "AgentCutOff",
            Self::Refused(Refusal::Unsafe { .. }) => "AgentUnsafe",
            Self::Failed { .. } => "AgentNotGuarded",
        }
    }

    /// It asks for somebody's attention.
    pub fn is_warning(&self) -> bool {
        !matches!(self, Self::Guarded)
    }

    /// The event's message: what happened and what to do.
    pub fn message(&self) -> String {
        match self {
            Self::Guarded => {
                "All traffic from this pod to the Kubernetes API passes the guard; every other way to the control plane is refused.".to_owned()
            }
            Self::Refused(refusal) => format!("Not served by the guard: {refusal}."),
            Self::Failed { error } => {
                format!("The pod can't be guarded yet, and has no access until it is. The guard tries again: {error}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
