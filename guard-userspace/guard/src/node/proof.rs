//! The answer to a pod's gate: is this pod guarded, by the kernel's own count?

use std::collections::HashMap;
use std::collections::hash_map;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use guard_common::{Hook, Reason};
use guard_identity::{Workload, WorkloadId};
use guard_kernel::interfaces::{self, HostSide};
use guard_kernel::kernel::{ControlPlaneSet, Entry, Service};
use guard_kernel::netns::Netns;
use guard_kernel::packet::{self, Route};
use guard_proxy::{GateProof, GateService};
use guard_workload::Network;
use rand::Rng;
use tokio::time::Instant;

use super::enforcement::SharedKernel;
use super::follow::Current;
use super::registry::Registry;
use super::reports::Expected;

/// How long a packet may take from the pod's interface to the counter. It takes microseconds on an idle node.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the counter is read meanwhile.
const POLL: Duration = Duration::from_millis(5);

/// Between two proofs to one pod: each costs threads and packets, and an agent may ask for any number.
const INTERVAL: Duration = Duration::from_millis(500);

/// Proves enforcement.
pub(super) struct Prover {
    pub(super) node: String,
    pub(super) host: Arc<Netns>,
    pub(super) kernel: SharedKernel,
    pub(super) current: Arc<ArcSwap<Current>>,
    pub(super) registry: Arc<Registry>,
    pub(super) expected: Arc<Expected>,
    pub(super) asked: Mutex<HashMap<WorkloadId, Instant>>,
}

#[async_trait]
impl GateService for Prover {
    async fn prove(&self, workload: &Workload) -> Result<GateProof, String> {
        let network = self
            .registry
            .get(workload.id)
            .and_then(|enrolled| enrolled.network)
            .ok_or("this pod's network is not guarded yet")?;
        self.take_turn(workload.id)?;
        let current = self.current.load_full();
        let before = self.dropped(workload.id)?;
        let packets_injected = self.inject(workload.id, &network, &current.set)?;
        if packets_injected == 0 {
            return Err("the pod's interfaces have no address from which the control plane could be tried".to_owned());
        }
        let patience = Instant::now() + PATIENCE;
        let packets_dropped = loop {
            let dropped = self.dropped(workload.id)?.saturating_sub(before).min(packets_injected);
            if dropped == packets_injected || Instant::now() >= patience {
                break dropped;
            }
            tokio::time::sleep(POLL).await;
        };
        if self.expected.admits_proof(workload.id) {
            for address in &current.witnesses {
                self.expected.add(workload.id, *address, trials(&current.set, *address));
            }
        }
        Ok(GateProof {
            namespace: workload.pod.namespace.clone(),
            pod: workload.pod.name.clone(),
            uid: workload.pod.uid.to_string(),
            class: workload.class.as_str().to_owned(),
            node: self.node.clone(),
            hooks: Hook::ALL.into_iter().map(|hook| hook.name().to_owned()).collect(),
            packets_injected,
            packets_dropped,
            refused: current.witnesses.clone(),
        })
    }
}

impl Prover {
    fn take_turn(&self, id: WorkloadId) -> Result<(), String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, at| at.elapsed() < INTERVAL);
        match asked.entry(id) {
            hash_map::Entry::Occupied(_) => {
                Err(format!("this pod was given proof less than {} ms ago; ask again later", INTERVAL.as_millis()))
            }
            hash_map::Entry::Vacant(turn) => {
                turn.insert(Instant::now());
                Ok(())
            }
        }
    }

    /// One raw packet to the control plane for each interface and address family of the pod.
    fn inject(&self, id: WorkloadId, network: &Network, set: &ControlPlaneSet) -> Result<u64, String> {
        let on_node = interfaces::list(&self.host).map_err(|error| error.to_string())?;
        let mut injected = 0;
        for side in &network.sides {
            let host_mac =
                on_node.iter().find(|interface| interface.index == side.index).and_then(|interface| interface.mac);
            let Some(macs) = side.pod.mac.zip(host_mac) else { continue };
            for route in routes(side, set) {
                // At random ports: nobody else's packet is taken for this one.
                let port = rand::rng().random_range(1024..=u16::MAX);
                let Some(frame) = packet::udp_frame(macs, route, (port, port), b"egress guard proof") else { continue };
                let to = match route {
                    Route::V4(_, to) => IpAddr::V4(to),
                    Route::V6(_, to) => IpAddr::V6(to),
                };
                self.expected.add(id, SocketAddr::new(to, port), 1);
                packet::inject(&network.netns, side.pod.index, &frame).map_err(|error| error.to_string())?;
                injected += 1;
            }
        }
        Ok(injected)
    }

    /// Packets of this pod to the control plane that the program on its veth has dropped.
    fn dropped(&self, id: WorkloadId) -> Result<u64, String> {
        let refusals = self.kernel.lock().refusals().map_err(|error| error.to_string())?;
        let dropped = refusals.iter().filter(|refusal| {
            refusal.workload == id.0 && refusal.hook == Hook::VethIngress && refusal.reason == Reason::ControlPlane
        });
        Ok(dropped.map(|refusal| refusal.count).sum())
    }
}

/// Each address is tried with a datagram, a connected datagram and TCP; the API server's takes TCP, which the kernel sends to the guard.
fn trials(set: &ControlPlaneSet, address: SocketAddr) -> usize {
    let api_server = Entry { address: address.ip(), service: Service::ApiServer { port: address.port() } };
    if set.entries.contains(&api_server) { 2 } else { 3 }
}

/// From the pod's address to one that is refused whatever the port, in each family that the pod has.
fn routes(side: &HostSide, set: &ControlPlaneSet) -> Vec<Route> {
    let closed = || set.entries.iter().filter(|entry| entry.service == Service::All).map(|entry| entry.address);
    let own = || side.pod.addresses.iter().copied();
    let v4 = own().find_map(as_v4).zip(closed().find_map(as_v4)).map(|(from, to)| Route::V4(from, to));
    let v6 = own().filter_map(as_v6).find(|address| !address.is_unicast_link_local());
    let v6 = v6.zip(closed().find_map(as_v6)).map(|(from, to)| Route::V6(from, to));
    v4.into_iter().chain(v6).collect()
}

fn as_v4(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn as_v6(address: IpAddr) -> Option<std::net::Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use guard_kernel::interfaces::{Interface, Kind};

    use super::*;

    #[test]
    fn each_family_of_the_pod_is_tried_towards_an_address_that_is_closed_whole() {
        let entry = |address: &str, service| Entry { address: address.parse().unwrap(), service };
        let set = ControlPlaneSet {
            entries: BTreeSet::from([
                entry("10.0.0.1", Service::ApiServer { port: 6443 }),
                entry("10.96.0.1", Service::All),
                entry("fd00:96::1", Service::All),
            ]),
            local_ports: BTreeSet::new(),
        };
        let side = |addresses: &[&str]| HostSide {
            pod: Interface {
                name: "eth0".to_owned(),
                index: 2,
                kind: Kind::Veth,
                peer_index: Some(7),
                peer_netns: Some(0),
                mac: Some([2; 6]),
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                up: true,
            },
            index: 7,
        };
        let v4 = Route::V4("10.1.0.5".parse().unwrap(), "10.96.0.1".parse().unwrap());
        let v6 = Route::V6("fd00:1::5".parse().unwrap(), "fd00:96::1".parse().unwrap());
        assert_eq!(routes(&side(&["10.1.0.5", "fe80::1"]), &set), [v4]);
        assert_eq!(routes(&side(&["fe80::1", "fd00:1::5", "10.1.0.5"]), &set), [v4, v6]);
        assert_eq!(routes(&side(&["fe80::1"]), &set), []);
    }
}
