//! What addresses a node has: those that its object lists, and those that it has besides.
//!
//! A kubelet, an API server and a NodePort answer on every address of their node. On this node netfilter knows them all. Of another one the
//! guard knows what the object shows: pods reach it by its end of their network as well, the bridge's or a tunnel's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::Node;

/// Network plugins write a handful; a bound on what else may be in annotations.
const MAX_ANNOTATED: usize = 16;

/// Listed addresses of one node: two families, inside and outside, and some more.
const MAX_LISTED: usize = 32;

/// `status.addresses`. Host names are left out: what they resolve to is listed as well where the node has such an address.
pub(super) fn listed(node: &Node) -> BTreeSet<IpAddr> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses.filter_map(|address| address.address.parse().ok()).take(MAX_LISTED).collect()
}

/// The node's own ends of its pods' networks: the first addresses of its ranges (a tunnel's, as flannel's; the bridge's), the last one, which
/// as broadcast is the node's too, and what network plugins write into annotations (Calico's tunnels, Cilium's host interface).
pub(super) fn unlisted(node: &Node) -> BTreeSet<IpAddr> {
    let ranges = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr));
    let annotations = node.metadata.annotations.iter().flatten();
    let annotated = annotations.filter_map(|(_, value)| parse(value)).map(|(address, _)| address).take(MAX_ANNOTATED);
    ranges.filter_map(|range| parse(range)).flat_map(ends).chain(annotated).collect()
}

/// `ADDRESS` or `ADDRESS/LENGTH`.
fn parse(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = if length.is_empty() { bits } else { length.parse().ok().filter(|length| *length <= bits)? };
    (!address.is_loopback() && !address.is_unspecified()).then_some((address, length))
}

/// The first two addresses of a range, and the last.
fn ends((first, length): (IpAddr, u32)) -> [IpAddr; 3] {
    match first {
        IpAddr::V4(v4) => {
            let first = u32::from(v4);
            let last = first | u32::MAX.checked_shr(length).unwrap_or(0);
            [first, first.saturating_add(1), last].map(|address| Ipv4Addr::from(address).into())
        }
        IpAddr::V6(v6) => {
            let first = u128::from(v6);
            let last = first | u128::MAX.checked_shr(length).unwrap_or(0);
            [first, first.saturating_add(1), last].map(|address| Ipv6Addr::from(address).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_node_has_the_first_addresses_of_its_pods_ranges_and_what_its_network_plugin_says() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "annotations": {
                "projectcalico.org/IPv4IPIPTunnelAddr": "10.1.7.64",
                "projectcalico.org/IPv4Address": "192.168.0.2/24",
                "node.alpha.kubernetes.io/ttl": "0",
                "a.example/b": "127.0.0.1",
            }},
            "spec": {"podCIDR": "10.1.2.0/24", "podCIDRs": ["10.1.2.0/24", "fd00:1:2::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.2"}, {"type": "Hostname", "address": "n1"}]},
        }))
        .unwrap();
        assert_eq!(listed(&node), addresses(&["192.168.0.2"]));
        let of_ranges =
            ["10.1.2.0", "10.1.2.1", "10.1.2.255", "fd00:1:2::", "fd00:1:2::1", "fd00:1:2:0:ffff:ffff:ffff:ffff"];
        assert_eq!(unlisted(&node), addresses(&[&of_ranges[..], &["10.1.7.64", "192.168.0.2"]].concat()));
    }

    #[test]
    fn a_range_of_one_address_and_what_is_no_range_are_no_trouble() {
        let node: Node = serde_json::from_value(json!({
            "spec": {"podCIDRs": ["10.1.2.3/32", "fd00::7/128", "10.1.2.0/33", "10.1.2.0/x", "nonsense"]},
        }))
        .unwrap();
        assert_eq!(unlisted(&node), addresses(&["10.1.2.3", "10.1.2.4", "fd00::7", "fd00::8"]));
    }

    #[test]
    fn annotations_without_end_are_not_read_to_the_end() {
        let annotations: serde_json::Map<_, _> =
            (0..200).map(|number| (format!("a.example/{number}"), json!(format!("10.0.0.{number}")))).collect();
        let node: Node = serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap();
        assert_eq!(unlisted(&node).len(), MAX_ANNOTATED);
    }
}
