//! Who is who on this node: the kernel's numbers and the pods behind them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use guard_api::{AgentPod, MAX_AGENT_PODS};
use guard_identity::{PodIdentity, PodUid, WorkloadId};
use guard_kernel::kernel::boot_time;
use guard_workload::Network;

/// All enrolled pods.
#[derive(Default)]
pub(super) struct Registry {
    enrolled: Mutex<HashMap<WorkloadId, Enrolled>>,
    /// Those that an earlier guard has enrolled, until this one serves or releases them.
    to_take_over: Mutex<HashSet<PodUid>>,
}

/// One of them.
#[derive(Clone)]
pub(super) struct Enrolled {
    /// The pod.
    pub(super) pod: PodIdentity,
    /// The uid that the node knows it by.
    node_uid: PodUid,
    /// Its network, once it is guarded.
    pub(super) network: Option<Arc<Network>>,
    /// Since when the kernel sends it to its listener, as boot time in nanoseconds.
    served_since: Option<u64>,
    /// Its listeners that accept now: one, or none, or two while its network is made anew.
    doors: usize,
}

impl Enrolled {
    /// Whether its listener was there at this boot time.
    pub(super) fn was_served(&self, boot_time_nanoseconds: u64) -> bool {
        self.served_since.is_some_and(|since| since <= boot_time_nanoseconds)
    }
}

impl Registry {
    /// An empty one, on a node where an earlier guard has enrolled these.
    pub(super) fn of(earlier: &[PodUid]) -> Self {
        Self { enrolled: Mutex::default(), to_take_over: Mutex::new(earlier.iter().cloned().collect()) }
    }

    /// How many of the earlier guard's pods are neither served by this one yet, nor released.
    pub(super) fn left_to_take_over(&self) -> usize {
        self.to_take_over.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn taken_over(&self, node_uid: &PodUid) {
        self.to_take_over.lock().unwrap_or_else(PoisonError::into_inner).remove(node_uid);
    }

    /// A pod is enrolled.
    pub(super) fn add(&self, id: WorkloadId, pod: PodIdentity, node_uid: PodUid) {
        self.lock().insert(id, Enrolled { pod, node_uid, network: None, served_since: None, doors: 0 });
    }

    /// Its network is guarded.
    pub(super) fn set_network(&self, id: WorkloadId, network: &Arc<Network>) {
        if let Some(enrolled) = self.lock().get_mut(&id) {
            enrolled.network = Some(Arc::clone(network));
        }
    }

    /// The kernel sends it to its listener from now on.
    pub(super) fn set_served(&self, id: WorkloadId) {
        if let Some(enrolled) = self.lock().get_mut(&id) {
            enrolled.served_since.get_or_insert_with(boot_time);
            self.taken_over(&enrolled.node_uid);
        }
    }

    /// One more listener accepts for it, or one less.
    pub(super) fn count_door(&self, id: WorkloadId, open: bool) {
        if let Some(enrolled) = self.lock().get_mut(&id) {
            enrolled.doors = if open { enrolled.doors + 1 } else { enrolled.doors.saturating_sub(1) };
        }
    }

    /// Who is enrolled, as the node's object tells it.
    pub(super) fn agent_pods(&self) -> Vec<AgentPod> {
        let agent = |enrolled: &Enrolled| AgentPod {
            namespace: enrolled.pod.namespace.clone(),
            name: enrolled.pod.name.clone(),
            uid: enrolled.pod.uid.to_string(),
            guarded: enrolled.doors > 0,
        };
        let mut pods: Vec<_> = self.lock().values().map(agent).collect();
        pods.sort();
        pods.truncate(MAX_AGENT_PODS);
        pods
    }

    /// The uids by which the node knows those who are enrolled.
    pub(super) fn uids(&self) -> HashSet<PodUid> {
        self.lock().values().map(|enrolled| enrolled.node_uid.clone()).collect()
    }

    /// It is released.
    pub(super) fn remove(&self, node_uid: &PodUid) {
        self.taken_over(node_uid);
        self.lock().retain(|_, enrolled| enrolled.node_uid != *node_uid);
    }

    /// How many are enrolled.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The pod of a number.
    pub(super) fn get(&self, id: WorkloadId) -> Option<Enrolled> {
        self.lock().get(&id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkloadId, Enrolled>> {
        // Every change is one call: a panic in between leaves nothing half done.
        self.enrolled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
