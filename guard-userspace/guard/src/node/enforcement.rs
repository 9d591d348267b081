//! What the lifecycle of a pod asks of the kernel, done.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use guard_certificates::Serving;
use guard_identity::{PodUid, Workload, WorkloadId};
use guard_kernel::kernel::ListenerAddress;
use guard_kernel::listener::Sysctls;
use guard_kernel::sockets::Diagnostics;
use guard_kernel::{Kernel, listener};
use guard_proxy::DrainSignal;
use guard_workload::{Enforcement, Network, PodCgroup, PodRecord};

use super::control_plane;
use super::door::{Door, Doors};
use super::follow::Current;
use super::metrics::Refusals;
use super::registry::Registry;
use crate::charge::{Charge, ChargeError, Held};

/// The kernel, shared by those who change it.
#[derive(Clone)]
pub(super) struct SharedKernel(Arc<Mutex<Kernel>>);

impl SharedKernel {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self(Arc::new(Mutex::new(kernel)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kernel> {
        // What a panic left half done in the kernel is done again by the next attempt; every step may be repeated.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enforcement on this node.
pub(super) struct NodeEnforcement {
    pub(super) kernel: SharedKernel,
    pub(super) current: Arc<ArcSwap<Current>>,
    pub(super) registry: Arc<Registry>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) doors: Arc<Doors>,
    pub(super) draining: DrainSignal,
    pub(super) charge: Charge,
    pub(super) sysctls: Sysctls,
    /// Without a certificate nobody is let in who would meet an error instead of the API server.
    pub(super) certificate: Arc<Serving>,
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kernel did not do it.
    #[error(transparent)]
    Kernel(#[from] guard_kernel::Error),
    /// New to the cluster, or `guard control` has been away for longer than a leaf lives.
    #[error("this node has no valid certificate of the guard's authority yet; does `guard control` run?")]
    NoCertificate,
    /// Another process may have taken over: what is enrolled is its to change.
    #[error("this guard is draining; the one that follows it takes care of the pod")]
    Draining,
    /// Another process has.
    #[error(transparent)]
    Charge(#[from] ChargeError),
}

impl NodeEnforcement {
    /// As long as it lives, nobody takes over.
    fn charge(&self) -> Result<Held, Error> {
        if self.draining.has_started() { Err(Error::Draining) } else { Ok(self.charge.hold()?) }
    }
}

impl Enforcement for NodeEnforcement {
    type Door = Door;
    type Error = Error;

    fn attach_cgroup(&self, pod: &PodRecord, cgroup: &PodCgroup) -> Result<WorkloadId, Error> {
        let _charge = self.charge()?;
        let uid = pod.node_uid.as_str();
        let mut kernel = self.kernel.lock();
        // The kubelet may have made the cgroup anew while no guard was watching: what hangs on the old one guards nothing.
        let stale = kernel.enrolled().any(|pinned| pinned.pod == uid && pinned.workload != cgroup.id);
        if stale {
            kernel.release(uid)?;
        }
        let id = WorkloadId(kernel.attach_pod(uid, &cgroup.path)?);
        self.registry.add(id, pod.identity.clone(), pod.node_uid.clone());
        Ok(id)
    }

    fn attach_network(&self, id: WorkloadId, network: &Arc<Network>) -> Result<(), Error> {
        let _charge = self.charge()?;
        for side in &network.sides {
            self.kernel.lock().attach_veth(id.0, side.index, &side.pod.addresses)?;
        }
        self.registry.set_network(id, network);
        let current = self.current.load();
        let cut = Diagnostics::open(&network.netns)?.destroy(|remote| control_plane::contains(&current.set, remote))?;
        if cut > 0 {
            tracing::warn!(
                workload = id.0,
                connections = cut,
                "connections to the control plane from before enforcement were cut"
            );
        }
        Ok(())
    }

    fn open_door(&self, workload: Arc<Workload>, cgroup: &PodCgroup, network: &Arc<Network>) -> Result<Door, Error> {
        let _charge = self.charge()?;
        if !self.certificate.is_valid(SystemTime::now()) {
            return Err(Error::NoCertificate);
        }
        let listeners = listener::open(&network.netns, &self.sysctls)?;
        let diagnostics = Diagnostics::open(&network.netns)?;
        let address = ListenerAddress { port: listeners.port, ipv6: listeners.v6.is_some() };
        let (id, cookie) = (workload.id, network.netns.cookie()?);
        // It accepts before the kernel sends anybody there.
        let door = self.doors.open(workload, cgroup, listeners, diagnostics)?;
        let before = self.kernel.lock().set_listener(id.0, cookie, address)?;
        self.registry.set_served(id);
        if let Some(port) = before {
            listener::release_port(&network.netns, &self.sysctls, port)?;
        }
        Ok(door)
    }

    fn release(&self, pod: &PodUid) -> Result<(), Error> {
        let _charge = self.charge()?;
        let mut kernel = self.kernel.lock();
        self.refusals.update(&kernel);
        kernel.release(pod.as_str())?;
        drop(kernel);
        self.registry.remove(pod);
        Ok(())
    }
}
