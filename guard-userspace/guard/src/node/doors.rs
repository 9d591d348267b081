//! Services that lead to the control plane from another node: a NodePort there, a load balancer in front of it.
//!
//! What this node's kube-proxy rewrites (ClusterIPs, `externalIPs`, its own NodePorts), netfilter sees behind the veth. What another machine
//! rewrites, nobody sees there: the packet has lost the agents' mark on its way. So these addresses join the set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use guard_common::{PROTOCOL_TCP, PROTOCOL_UDP};
use guard_kernel::kernel::{Entry, Service};
use k8s_openapi::api::core::v1::{Service as ServiceObject, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::control_plane::endpoints;

/// SCTP has the same number in Services as on the wire.
const PROTOCOL_SCTP: u8 = 132;

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
    balancers: BTreeSet<(IpAddr, u8, u16)>,
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
        let ports: Vec<_> = service.spec.as_ref()?.ports.iter().flatten().collect();
        let number = |port: i32| u16::try_from(port).ok();
        let node_ports = ports.iter().filter_map(|port| Some((protocol(port), number(port.node_port?)?))).collect();
        let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let addresses = ingress.iter().flat_map(|status| status.ingress.iter().flatten());
        let addresses: Vec<IpAddr> = addresses.filter_map(|point| point.ip.as_ref()?.parse().ok()).collect();
        let balancers = addresses
            .iter()
            .flat_map(|address| ports.iter().filter_map(|port| Some((*address, protocol(port), number(port.port)?))))
            .collect();
        let entrances = Self { node_ports, balancers };
        (entrances != Self::default()).then_some(entrances)
    }
}

/// What these Services add to the set. `leads_there` tells the control plane's endpoints from others.
pub(super) fn entries(
    entrances: &BTreeMap<ServiceName, Entrances>,
    targets: &BTreeMap<ServiceName, Targets>,
    other_nodes: &BTreeSet<IpAddr>,
    leads_there: impl Fn(SocketAddr) -> bool,
) -> BTreeSet<Entry> {
    let guilty = targets.values().filter(|slice| slice.endpoints.iter().any(|endpoint| leads_there(*endpoint)));
    let guilty: BTreeSet<_> = guilty.map(|slice| &slice.service).collect();
    let mut entries = BTreeSet::new();
    for doors in guilty.iter().filter_map(|service| entrances.get(*service)) {
        let refused = |protocol, port| Service::Refused { protocol: Some(protocol), port };
        for (protocol, port) in &doors.node_ports {
            entries.extend(
                other_nodes.iter().map(|address| Entry { address: *address, service: refused(*protocol, *port) }),
            );
        }
        entries.extend(
            doors
                .balancers
                .iter()
                .map(|(address, protocol, port)| Entry { address: *address, service: refused(*protocol, *port) }),
        );
    }
    entries
}

fn protocol(port: &ServicePort) -> u8 {
    match port.protocol.as_deref() {
        Some("UDP") => PROTOCOL_UDP,
        Some("SCTP") => PROTOCOL_SCTP,
        _ => PROTOCOL_TCP,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(value: serde_json::Value) -> Option<Entrances> {
        Entrances::of(&serde_json::from_value(value).unwrap())
    }

    fn slice(service: &str, address: &str, port: u16) -> Targets {
        let slice = json!({
            "metadata": {"namespace": "x", "name": "s", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": [{"port": port}],
        });
        Targets::of(&serde_json::from_value(slice).unwrap()).unwrap()
    }

    #[test]
    fn a_node_port_and_a_balancer_that_lead_to_the_api_server_are_in_the_set() {
        let door = service(json!({
            "spec": {"type": "LoadBalancer", "ports": [{"port": 443, "nodePort": 30443, "targetPort": 6443}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}, {"hostname": "lb.example"}]}},
        }));
        let name = |name: &str| ("x".to_owned(), name.to_owned());
        let entrances = BTreeMap::from([(name("door"), door.clone().unwrap()), (name("shop"), door.unwrap())]);
        let targets = BTreeMap::from([
            (name("1"), slice("door", "192.168.0.1", 6443)),
            (name("2"), slice("shop", "10.1.0.7", 8443)),
        ]);
        let nodes = BTreeSet::from(["192.168.0.3".parse().unwrap()]);
        let api_server: SocketAddr = "192.168.0.1:6443".parse().unwrap();
        let found = entries(&entrances, &targets, &nodes, |endpoint| endpoint == api_server);
        let entry = |address: &str, port| Entry {
            address: address.parse().unwrap(),
            service: Service::Refused { protocol: Some(PROTOCOL_TCP), port },
        };
        assert_eq!(found, BTreeSet::from([entry("192.168.0.3", 30443), entry("203.0.113.9", 443)]));
        assert_eq!(entries(&entrances, &targets, &nodes, |_| false), BTreeSet::new());
    }

    #[test]
    fn a_service_that_every_node_rewrites_itself_needs_no_entry() {
        assert_eq!(service(json!({"spec": {"clusterIP": "10.96.0.5", "ports": [{"port": 443}]}})), None);
    }
}
