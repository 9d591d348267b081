//! The control-plane set of a cluster, from its `kubernetes` Service, the `EndpointSlice`s of that, and its Nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use guard_certificates::SanName;
use guard_common::{PROTOCOL_TCP, PROTOCOL_UDP};
use guard_kernel::kernel::{ControlPlaneSet, Entry, Service};
use k8s_openapi::api::core::v1::{Node, Service as ServiceObject};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::config::ControlPlane;
use super::doors::{self, Entrances, Nodes, Targets};
use super::node_addresses;

/// The kubelet (10250, and 10255 read-only) and etcd (clients, peers).
const NODE_TCP_PORTS: [u16; 4] = [10250, 10255, 2379, 2380];

/// VXLAN (IANA's, Linux' old default), Geneve: what a node decapsulates is sent on from the node.
const OVERLAY_UDP_PORTS: [u16; 3] = [4789, 8472, 6081];

/// Cloud metadata: credentials of the node.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// What clients in a pod know the API server by.
const NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// The slice that API servers themselves write. Others may add some; who may write slices in that namespace may add any number.
const OWN_SLICE: &str = "kubernetes";

/// API servers, and again addresses and ports of the Service `kubernetes`, that find a place in the set. It has room for what is real.
const MAX_API_SERVERS: usize = 64;

/// What the cluster shows of its control plane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Addresses of the `kubernetes` Service, all of whose ports are the control plane's.
    service_addresses: BTreeSet<IpAddr>,
    /// Its ports.
    service_ports: BTreeSet<u16>,
    /// API servers that were there when the last of them vanished from the slices: gone they may be, open they must not.
    last_endpoints: BTreeSet<SocketAddr>,
    /// Further addresses of API servers: those that their certificates are for.
    certified: BTreeSet<IpAddr>,
    /// Addresses of nodes that their objects list, by name.
    nodes: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Addresses that nodes have besides, as far as their objects let it be known, by name.
    unlisted: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Addresses that their guards tell of, by name.
    reported: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Where Services are entered on other machines, by the Service's namespace and name.
    entrances: BTreeMap<(String, String), Entrances>,
    /// Where Services lead, by the slice's namespace and name.
    targets: BTreeMap<(String, String), Targets>,
}

impl View {
    /// The `kubernetes` Service as it is now. It can't be gone for long: the API server makes it again.
    pub(crate) fn set_service(&mut self, service: &ServiceObject) {
        let spec = service.spec.as_ref();
        let cluster_ips = spec.iter().flat_map(|spec| spec.cluster_ips.iter().flatten().chain(spec.cluster_ip.iter()));
        let external = spec.iter().flat_map(|spec| spec.external_ips.iter().flatten());
        let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress =
            status.iter().flat_map(|status| status.ingress.iter().flatten()).filter_map(|point| point.ip.as_ref());
        // `None` and `` stand for no address.
        self.service_addresses = cluster_ips
            .chain(external)
            .chain(ingress)
            .filter_map(|address| address.parse().ok())
            .take(MAX_API_SERVERS)
            .collect();
        self.service_ports = spec
            .iter()
            .flat_map(|spec| spec.ports.iter().flatten())
            .filter_map(|port| u16::try_from(port.port).ok())
            .take(MAX_API_SERVERS)
            .collect();
    }

    /// Exactly these slices are there.
    pub(crate) fn set_slices<'a>(&mut self, slices: impl IntoIterator<Item = &'a EndpointSlice>) {
        let (own, others): (Vec<_>, Vec<_>) =
            slices.into_iter().partition(|slice| slice.metadata.name.as_deref() == Some(OWN_SLICE));
        let mut listed = BTreeSet::new();
        for endpoint in own.into_iter().chain(others).flat_map(endpoints) {
            if listed.len() == MAX_API_SERVERS {
                tracing::error!(
                    MAX_API_SERVERS,
                    "the Service kubernetes has more endpoints than a cluster has API servers; what is more is left out"
                );
                break;
            }
            listed.insert(endpoint);
        }
        if !listed.is_empty() {
            self.last_endpoints = listed;
        }
    }

    /// Exactly these nodes are there.
    pub(super) fn set_nodes<'a>(&mut self, nodes: impl IntoIterator<Item = &'a Node>) {
        (self.nodes, self.unlisted) = (BTreeMap::new(), BTreeMap::new());
        for node in nodes {
            let name = node.metadata.name.clone().unwrap_or_default();
            self.nodes.insert(name.clone(), node_addresses::listed(node));
            self.unlisted.insert(name, node_addresses::unlisted(node));
        }
    }

    /// What the guards of nodes tell of their nodes' addresses.
    pub(super) fn set_reported(&mut self, reported: BTreeMap<String, BTreeSet<IpAddr>>) {
        self.reported = reported;
    }

    /// Exactly these Services are there that can be entered on other machines.
    pub(super) fn set_entrances(&mut self, entrances: BTreeMap<(String, String), Entrances>) {
        self.entrances = entrances;
    }

    /// Exactly these are where Services lead.
    pub(super) fn set_targets(&mut self, targets: BTreeMap<(String, String), Targets>) {
        self.targets = targets;
    }

    /// The addresses in the API servers' certificates: load balancers, public addresses, the other family.
    pub(crate) fn set_certified(&mut self, addresses: BTreeSet<IpAddr>) {
        self.certified = addresses;
    }

    /// Every address and port that is an API server's.
    ///
    /// A balancer, or a ClusterIP of the other family, offers the port of the Service. A machine offers its own alone: at that of the Service
    /// may be somebody else, an ingress for instance.
    fn api_servers(&self) -> BTreeSet<SocketAddr> {
        let own: BTreeSet<_> = self.last_endpoints.iter().map(SocketAddr::port).collect();
        let all: BTreeSet<_> = own.union(&self.service_ports).copied().collect();
        let is_machine = |address: &IpAddr| {
            let is_node = self.nodes.values().any(|addresses| addresses.contains(address));
            is_node || self.last_endpoints.iter().any(|endpoint| endpoint.ip() == *address)
        };
        // In a pod these are the pod itself.
        let certified = self.certified.iter().filter(|address| !address.is_loopback() && !address.is_unspecified());
        let certified = certified.flat_map(|address| {
            let ports = if is_machine(address) { &own } else { &all };
            ports.iter().map(|port| SocketAddr::new(*address, *port))
        });
        certified.chain(self.last_endpoints.iter().copied()).collect()
    }

    /// Whom the guard's certificate is for: every name and address that an agent may know the API server by.
    pub(crate) fn names(&self, configured: &ControlPlane) -> BTreeSet<SanName> {
        let names = NAMES.iter().map(|name| SanName::Dns((*name).to_owned()));
        let further = configured.names.iter().map(|name| SanName::Dns(name.clone()));
        let aliases = configured.aliases.iter().map(SocketAddr::ip);
        let api_servers = self.api_servers();
        let addresses = self.service_addresses.iter().copied().chain(api_servers.iter().map(SocketAddr::ip));
        let addresses = addresses.chain(aliases).map(|address| SanName::Ip(address.to_canonical()));
        names.chain(further).chain(addresses).collect()
    }

    /// API servers to dial.
    pub(crate) fn endpoints(&self) -> Vec<SocketAddr> {
        self.last_endpoints.iter().copied().collect()
    }

    /// The set, for the node of this name.
    pub(super) fn control_plane(&self, node: &str, configured: &ControlPlane) -> ControlPlaneSet {
        let mut entries: BTreeSet<Entry> = configured.entries().collect();
        entries.extend(METADATA.map(|address| Entry { address, service: Service::All }));
        for address in self.service_addresses.iter().copied() {
            entries.insert(Entry { address, service: Service::All });
            entries.extend(
                self.service_ports.iter().map(|port| Entry { address, service: Service::ApiServer { port: *port } }),
            );
        }
        entries.extend(
            self.api_servers().iter().map(|endpoint| Entry {
                address: endpoint.ip(),
                service: Service::ApiServer { port: endpoint.port() },
            }),
        );
        let nodes = self.node_addresses(node);
        // A control plane's machine need not be a node; its etcd is as near to the API server as a node's.
        let machines: BTreeSet<IpAddr> = nodes
            .own
            .iter()
            .chain(&nodes.others)
            .copied()
            .chain(self.last_endpoints.iter().map(SocketAddr::ip))
            .collect();
        for address in machines {
            let refused = |protocol, port| Entry { address, service: Service::Refused { protocol, port } };
            entries.extend(NODE_TCP_PORTS.map(|port| refused(None, port)));
            entries.extend(OVERLAY_UDP_PORTS.map(|port| refused(Some(PROTOCOL_UDP), port)));
        }
        entries.extend(self.api_servers_on_unlisted_addresses(node));
        let mut local_ports: BTreeSet<_> = configured.local_ports().collect();
        local_ports.extend(NODE_TCP_PORTS.map(|port| (PROTOCOL_TCP, port)));
        local_ports.extend(OVERLAY_UDP_PORTS.map(|port| (PROTOCOL_UDP, port)));
        // An API server on this very node answers on every address of it.
        let own = self.nodes.get(node);
        let is_own = |endpoint: &&SocketAddr| own.is_some_and(|addresses| addresses.contains(&endpoint.ip()));
        local_ports.extend(self.last_endpoints.iter().filter(is_own).map(|endpoint| (PROTOCOL_TCP, endpoint.port())));
        let mut set = ControlPlaneSet { entries, local_ports };
        let doors = doors::entries(&self.entrances, &self.targets, &nodes, |endpoint| contains(&set, endpoint));
        set.entries.extend(doors);
        set
    }

    /// An API server answers on every address of its node, unlisted ones too.
    fn api_servers_on_unlisted_addresses(&self, node: &str) -> BTreeSet<Entry> {
        let mut entries = BTreeSet::new();
        for (name, unlisted) in self.unlisted.iter().chain(&self.reported).filter(|(name, _)| *name != node) {
            let Some(listed) = self.nodes.get(name) else { continue };
            for endpoint in self.last_endpoints.iter().filter(|endpoint| listed.contains(&endpoint.ip())) {
                let service = Service::Refused { protocol: None, port: endpoint.port() };
                entries.extend(unlisted.difference(listed).map(|address| Entry { address: *address, service }));
            }
        }
        entries
    }

    /// Of this node the listed ones: whatever else is its own, netfilter knows. Of the others all that are known.
    fn node_addresses(&self, node: &str) -> Nodes {
        let others = |addresses: &BTreeMap<String, BTreeSet<IpAddr>>| -> Vec<IpAddr> {
            addresses.iter().filter(|(name, _)| *name != node).flat_map(|(_, addresses)| addresses).copied().collect()
        };
        let own = self.nodes.get(node).cloned().unwrap_or_default();
        let others = others(&self.nodes)
            .into_iter()
            .chain(others(&self.unlisted))
            .chain(others(&self.reported))
            .filter(|address| !own.contains(address))
            .collect();
        Nodes { own, others }
    }

    /// What a gate must find refused, or intercepted: a choice that shows each kind of entry once or more.
    pub(super) fn witnesses(&self, node: &str) -> Vec<SocketAddr> {
        /// A gate tries each in turn, so there is no more of them than that.
        const MAX: usize = 16;
        let services = self
            .service_addresses
            .iter()
            .flat_map(|address| self.service_ports.iter().map(|port| SocketAddr::new(*address, *port)));
        let own = self.nodes.get(node).into_iter().flatten();
        let kubelet = own.flat_map(|address| [10250, 2379].map(|port| SocketAddr::new(*address, port)));
        let metadata = METADATA.map(|address| SocketAddr::new(address, 80));
        let all = services.chain(kubelet).chain(metadata).chain(self.api_servers());
        let mut seen = BTreeSet::new();
        all.filter(|witness| seen.insert(*witness)).take(MAX).collect()
    }
}

/// Whether a connection to this address falls under the set.
pub(super) fn contains(set: &ControlPlaneSet, remote: SocketAddr) -> bool {
    let address = remote.ip().to_canonical();
    let has = |service| set.entries.contains(&Entry { address, service });
    let port = remote.port();
    has(Service::All)
        || has(Service::ApiServer { port })
        || has(Service::Refused { protocol: None, port })
        || has(Service::Refused { protocol: Some(PROTOCOL_TCP), port })
}

pub(crate) fn endpoints(slice: &EndpointSlice) -> BTreeSet<SocketAddr> {
    let ports: Vec<_> = slice
        .ports
        .iter()
        .flatten()
        .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
    let addresses = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses);
    addresses
        .filter_map(|address| address.parse().ok())
        .flat_map(|address: IpAddr| ports.iter().map(move |port| SocketAddr::new(address, *port)))
        .collect()
}

#[cfg(test)]
mod tests;
