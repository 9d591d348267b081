//! Services that lead to the control plane from another node: a NodePort there, a load balancer in front of it.
//!
//! What this node's kube-proxy rewrites (ClusterIPs, its own NodePorts), netfilter sees behind the veth. What another machine rewrites, nobody
//! sees there: the packet has lost the agents' mark on its way. So these addresses join the set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use guard_common::{PROTOCOL_TCP, PROTOCOL_UDP};
use guard_kernel::kernel::{Entry, Service};
use k8s_openapi::api::core::v1::{Service as ServiceObject, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::control_plane::endpoints;

/// SCTP has the same number in Services as on the wire.
const PROTOCOL_SCTP: u8 = 132;

/// Entries that NodePorts may take, and again those that addresses of Services may take: together a quarter of what the kernel's map holds.
/// Who may write Services may write any number of them.
const MAX_ENTRIES: usize = 8_192;

/// A Service by namespace and name.
type ServiceName = (String, String);

/// Where a slice's Service leads: kept instead of the slice, of which a cluster may have many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Targets {
    service: ServiceName,
    endpoints: BTreeSet<SocketAddr>,
}

/// Where a Service is entered on other machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entrances {
    node_ports: BTreeSet<(u8, u16)>,
    /// Of load balancers, and `externalIPs`: this node's kube-proxy rewrites those as well, but another's may know of them first, and what was
    /// connected by then stays so.
    addresses: BTreeSet<IpAddr>,
    /// The ports at each of the addresses.
    ports: BTreeSet<(u8, u16)>,
}

/// The addresses of nodes.
pub(super) struct Nodes {
    /// Of this one.
    pub(super) own: BTreeSet<IpAddr>,
    /// Of all others.
    pub(super) others: BTreeSet<IpAddr>,
}

impl Targets {
    /// Of a slice that belongs to a Service.
    pub(super) fn of(slice: &EndpointSlice) -> Option<Self> {
        let name = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
        let service = (slice.metadata.namespace.clone()?, name.clone());
        Some(Self { service, endpoints: endpoints(slice) })
    }
}

impl Entrances {
    /// Of a Service; `None` where it has none but on each node's own kube-proxy.
    pub(super) fn of(service: &ServiceObject) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let ports: Vec<_> = spec.ports.iter().flatten().collect();
        let number = |port: i32| u16::try_from(port).ok();
        let node_ports = ports.iter().filter_map(|port| Some((protocol(port), number(port.node_port?)?))).collect();
        let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let balancers =
            ingress.iter().flat_map(|status| status.ingress.iter().flatten()).filter_map(|point| point.ip.as_ref());
        let external = spec.external_ips.iter().flatten();
        let addresses: BTreeSet<IpAddr> =
            balancers.chain(external).filter_map(|address| address.parse().ok()).collect();
        let ports = ports.iter().filter_map(|port| Some((protocol(port), number(port.port)?))).collect();
        let entrances = Self { node_ports, addresses, ports };
        (!entrances.node_ports.is_empty() || !entrances.addresses.is_empty()).then_some(entrances)
    }
}

/// What these Services add to the set. `leads_there` tells the control plane's endpoints from others.
pub(super) fn entries(
    entrances: &BTreeMap<ServiceName, Entrances>,
    targets: &BTreeMap<ServiceName, Targets>,
    nodes: &Nodes,
    leads_there: impl Fn(SocketAddr) -> bool,
) -> BTreeSet<Entry> {
    let guilty = guilty(entrances, targets, nodes, leads_there);
    let doors: Vec<_> = guilty.into_iter().filter_map(|service| entrances.get(service)).collect();
    let mut entries = node_ports(&doors, nodes);
    entries.extend(addresses(&doors, nodes));
    entries
}

/// The Services that lead there, be it by way of each other: what one node has rewritten to a NodePort of another, that one rewrites again.
fn guilty<'a>(
    entrances: &BTreeMap<ServiceName, Entrances>,
    targets: &'a BTreeMap<ServiceName, Targets>,
    nodes: &Nodes,
    leads_there: impl Fn(SocketAddr) -> bool,
) -> BTreeSet<&'a ServiceName> {
    let (mut by_endpoint, mut by_node_port) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
    let mut waiting = Vec::new();
    for Targets { service, endpoints } in targets.values() {
        for endpoint in endpoints {
            if leads_there(*endpoint) {
                waiting.push(service);
            }
            by_endpoint.entry(*endpoint).or_default().push(service);
            if nodes.own.contains(&endpoint.ip()) || nodes.others.contains(&endpoint.ip()) {
                by_node_port.entry(endpoint.port()).or_default().push(service);
            }
        }
    }
    let mut guilty = BTreeSet::new();
    while let Some(service) = waiting.pop() {
        let Some(doors) = entrances.get(service).filter(|_| guilty.insert(service)) else {
            continue;
        };
        let node_ports = doors.node_ports.iter().filter_map(|(_, port)| by_node_port.get(port));
        let places = doors.addresses.iter().flat_map(|address| {
            doors.ports.iter().filter_map(|(_, port)| by_endpoint.get(&SocketAddr::new(*address, *port)))
        });
        waiting.extend(node_ports.chain(places).flatten().filter(|service| !guilty.contains(*service)));
    }
    guilty
}

/// NodePorts on other nodes; those nodes as a whole where the ports are too many to be listed.
fn node_ports(doors: &[&Entrances], nodes: &Nodes) -> BTreeSet<Entry> {
    let ports: BTreeSet<_> = doors.iter().flat_map(|doors| doors.node_ports.iter().copied()).collect();
    if ports.is_empty() {
        return BTreeSet::new();
    }
    if ports.len().saturating_mul(nodes.others.len()) <= MAX_ENTRIES {
        return nodes.others.iter().flat_map(|address| ports.iter().map(|port| refused(*address, *port))).collect();
    }
    closed(&nodes.others, nodes)
}

/// Balancers and `externalIPs`, likewise.
fn addresses(doors: &[&Entrances], nodes: &Nodes) -> BTreeSet<Entry> {
    let places = || doors.iter().flat_map(|doors| doors.addresses.iter().map(|address| (*address, &doors.ports)));
    let count = places().map(|(_, ports)| ports.len()).fold(0, usize::saturating_add);
    if count <= MAX_ENTRIES {
        return places().flat_map(|(address, ports)| ports.iter().map(move |port| refused(address, *port))).collect();
    }
    closed(&doors.iter().flat_map(|doors| doors.addresses.iter().copied()).collect(), nodes)
}

fn refused(address: IpAddr, (protocol, port): (u8, u16)) -> Entry {
    Entry { address, service: Service::Refused { protocol: Some(protocol), port } }
}

/// Every port. Of this node's own addresses none: there netfilter sees what a port leads to, and the kubelet's probes come from there.
fn closed(addresses: &BTreeSet<IpAddr>, nodes: &Nodes) -> BTreeSet<Entry> {
    let left_out = addresses.len().saturating_sub(MAX_ENTRIES);
    if left_out > 0 {
        tracing::error!(
            left_out,
            "Services that lead to the control plane have more addresses than the control-plane set can hold; who writes so many?"
        );
    }
    let foreign = addresses.difference(&nodes.own).take(MAX_ENTRIES);
    foreign.map(|address| Entry { address: *address, service: Service::All }).collect()
}

fn protocol(port: &ServicePort) -> u8 {
    match port.protocol.as_deref() {
        Some("UDP") => PROTOCOL_UDP,
        Some("SCTP") => PROTOCOL_SCTP,
        _ => PROTOCOL_TCP,
    }
}

#[cfg(test)]
mod tests;
