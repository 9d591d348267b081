//! The control-plane set of a run: what leads to the API server from this machine, or to credentials of the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use guard_kernel::kernel::{ControlPlaneSet, Entry, Service};

use super::cluster::Cluster;

/// Kubelet (10250, and 10255 read-only), etcd (clients, peers), controller-manager, scheduler: beside an API server on its own machine.
const NEIGHBOURS: [u16; 6] = [10250, 10255, 2379, 2380, 10257, 10259];
/// Cloud metadata: credentials of the machine.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// With the address that the command's kubeconfig names.
pub(super) fn set(server: SocketAddr, cluster: &Cluster) -> ControlPlaneSet {
    of(server, &cluster.addresses)
}

fn of(server: SocketAddr, addresses: &[SocketAddr]) -> ControlPlaneSet {
    let mut set = ControlPlaneSet::default();
    let mut add = |address, service| set.entries.insert(Entry { address, service });
    for address in METADATA {
        add(address, Service::All);
    }
    for known in addresses.iter().chain([&server]) {
        add(known.ip(), Service::ApiServer { port: known.port() });
    }
    // On this machine's loopback, as of kind and minikube, other ports are the command's own.
    for known in addresses.iter().filter(|known| !known.ip().is_loopback()) {
        for port in NEIGHBOURS {
            add(known.ip(), Service::Refused { protocol: None, port });
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_is_redirected_and_its_neighbours_are_refused() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let set = of(address("100.64.0.1:443"), &[address("192.0.2.1:6443"), address("127.0.0.1:40000")]);
        let has = |ip: &str, service| set.entries.contains(&Entry { address: ip.parse().unwrap(), service });
        assert!(has("192.0.2.1", Service::ApiServer { port: 6443 }));
        assert!(has("100.64.0.1", Service::ApiServer { port: 443 }));
        assert!(has("127.0.0.1", Service::ApiServer { port: 40000 }));
        assert!(has("192.0.2.1", Service::Refused { protocol: None, port: 10250 }));
        assert!(!has("127.0.0.1", Service::Refused { protocol: None, port: 10250 }));
        assert!(has("169.254.169.254", Service::All));
    }
}
