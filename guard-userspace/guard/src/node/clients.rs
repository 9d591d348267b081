//! Pods without the label that talk to the API server: what could be labelled next.
//!
//! Nothing is attached to them, and they run nothing of ours. Once a minute the guard asks the kernel for the sockets in the network namespace of each
//! (`sock_diag`), and keeps how many lead to the API server. A connection that ends on the pod's side is seen for a minute longer (`TIME_WAIT`), so what asks
//! briefly and often is seen as well; what asks once may not be. Pods in the node's own network are not looked at: none of them can be an agent.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use guard_api::{ApiClient, MAX_CLIENTS};
use guard_kernel::kernel::{ControlPlaneSet, Service};
use guard_kernel::netns::{Netns, NetnsId};
use guard_kernel::sockets::Diagnostics;
use guard_workload::{CgroupTree, netns_of};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::follow::Current;
use super::registry::Registry;

/// As long as `TIME_WAIT` lasts, so that the looks leave no gap.
const INTERVAL: Duration = Duration::from_mins(1);

/// Who was seen.
#[derive(Clone, Default)]
pub(super) struct Clients(Arc<Mutex<BTreeMap<String, ApiClient>>>);

/// Looks for them.
pub(super) struct Looking {
    pub(super) clients: Clients,
    pub(super) cgroups: CgroupTree,
    pub(super) host: Arc<Netns>,
    pub(super) registry: Arc<Registry>,
    pub(super) current: Arc<ArcSwap<Current>>,
}

impl Clients {
    /// As the node's object tells it.
    pub(super) fn list(&self) -> Vec<ApiClient> {
        self.lock().values().take(MAX_CLIENTS).cloned().collect()
    }

    /// What was seen now: those that run, with their connections. Who runs no more, or is an agent by now, is forgotten.
    fn update(&self, running: &BTreeMap<String, usize>, now: Timestamp) {
        let mut clients = self.lock();
        clients.retain(|uid, _| running.contains_key(uid));
        for (uid, connections) in running.iter().filter(|(_, connections)| **connections > 0) {
            let connections = i32::try_from(*connections).unwrap_or(i32::MAX);
            clients.insert(uid.clone(), ApiClient { uid: uid.clone(), connections, last_seen: Time(now) });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ApiClient>> {
        // Each look makes all of it anew.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looking {
    /// Until dropped.
    pub(super) async fn run(self) {
        let node = match self.host.identity() {
            Ok(node) => node,
            Err(error) => {
                tracing::warn!(%error, "pods without the label can't be looked at");
                return;
            }
        };
        loop {
            tokio::time::sleep(INTERVAL).await;
            tokio::task::block_in_place(|| self.look(node));
        }
    }

    fn look(&self, node: NetnsId) {
        let servers = servers(&self.current.load().set);
        let agents = self.registry.uids();
        let mut running = BTreeMap::new();
        for (uid, cgroup) in self.cgroups.pods().into_iter().filter(|(uid, _)| !agents.contains(uid)) {
            let Some(netns) = netns_of(&cgroup, node) else { continue };
            // A pod that is just ending has nothing to tell.
            let remotes = Diagnostics::open(&netns).and_then(|diagnostics| diagnostics.remotes()).unwrap_or_default();
            let count = remotes.iter().filter(|remote| servers.contains(*remote)).count();
            running.insert(uid.to_string(), count);
        }
        self.clients.update(&running, Timestamp::now());
    }
}

fn servers(set: &ControlPlaneSet) -> HashSet<SocketAddr> {
    let server = |service: Service| if let Service::ApiServer { port } = service { Some(port) } else { None };
    set.entries.iter().filter_map(|entry| Some(SocketAddr::new(entry.address, server(entry.service)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_remembered_for_as_long_as_it_runs_without_the_label() {
        let clients = Clients::default();
        let running = |pods: &[(&str, usize)]| pods.iter().map(|(uid, count)| ((*uid).to_owned(), *count)).collect();
        let (then, now) = (Timestamp::UNIX_EPOCH, Timestamp::now());
        clients.update(&running(&[("busy", 3), ("idle", 0), ("short", 1)]), then);
        clients.update(&running(&[("busy", 2), ("idle", 0), ("short", 0)]), now);
        let seen: Vec<_> =
            clients.list().into_iter().map(|client| (client.uid, client.connections, client.last_seen.0)).collect();
        assert_eq!(seen, [("busy".to_owned(), 2, now), ("short".to_owned(), 1, then)]);
        clients.update(&running(&[("idle", 0)]), now);
        assert!(clients.list().is_empty());
    }
}
