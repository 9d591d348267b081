//! Interfaces, their other ends, and a packet put on one by hand.

use std::collections::HashMap;

use guard_kernel::Error;
use guard_kernel::interfaces::{Kind, host_side, host_sides, list};
use guard_kernel::netfilter::{Endpoint, Netfilter, Options, Ports};
use guard_kernel::packet::{Route, inject, udp_frame};

use crate::lab::{Lab, Space, eventually, heard, is_link_local};

#[test]
fn the_veth_of_a_pod_is_listed_with_all_its_addresses() {
    let lab = Lab::new();
    let all = list(&lab.pod.netns).unwrap();
    assert_eq!(all[0].kind, Kind::Loopback);
    assert!(all[0].addresses.contains(&"::1".parse().unwrap()));
    let eth0 = all.iter().find(|interface| interface.name == "eth0").unwrap();
    assert_eq!(eth0.kind, Kind::Veth);
    assert!(eth0.up);
    assert!(eth0.mac.is_some());
    assert_eq!(eth0.peer_index, Some(lab.host.index("to_pod")));
    assert!(eth0.addresses.contains(&"10.9.0.2".parse().unwrap()));
    assert!(eth0.addresses.contains(&"fd09::2".parse().unwrap()));
    assert!(eth0.addresses.iter().any(is_link_local));
}

#[test]
fn the_host_side_of_a_veth_is_found() {
    let lab = Lab::new();
    let sides = host_sides(&lab.pod.netns, &lab.host.netns).unwrap();
    assert_eq!(sides.len(), 1);
    assert_eq!(sides[0].pod.name, "eth0");
    assert_eq!(sides[0].index, lab.host.index("to_pod"));
}

fn refused_kind(lab: &Lab) -> (String, String) {
    match host_sides(&lab.pod.netns, &lab.host.netns).unwrap_err() {
        Error::SecondaryInterface { interface, kind, .. } => (interface, kind),
        other => panic!("{other}"),
    }
}

#[test]
fn a_macvlan_in_the_pod_is_refused() {
    let lab = Lab::new();
    lab.pod.ip("link add link eth0 name second type macvlan");
    assert_eq!(refused_kind(&lab), ("second".into(), "macvlan".into()));
}

#[test]
fn a_veth_that_leads_elsewhere_is_refused() {
    let lab = Lab::new();
    // The index on the far side is one that the host has too, as a veth.
    let index = lab.host.index("to_pod");
    let elsewhere = Space::new("elsewhere");
    lab.pod.ip(&format!("link add second type veth peer name far index {index} netns {}", elsewhere.name()));
    assert_eq!(elsewhere.index("far"), index);
    assert_eq!(refused_kind(&lab), ("second".into(), "veth".into()));
}

#[test]
fn a_veth_of_another_namespace_with_the_same_index_is_refused() {
    let lab = Lab::new();
    let other = Space::new("other");
    let eth0 = list(&lab.pod.netns).unwrap().into_iter().find(|interface| interface.name == "eth0").unwrap();
    assert!(host_side(&other.netns, &eth0, &lab.host.netns).is_err());
}

#[test]
fn a_packet_made_by_hand_goes_the_way_of_the_pods_own() {
    let lab = Lab::new();
    let options = Options { table: "egress_guard_test".into(), mark: 0x100, log_group: 4077 };
    let netfilter = Netfilter::open(&lab.host.netns, options).unwrap();
    let side = host_sides(&lab.pod.netns, &lab.host.netns).unwrap().remove(0);
    let host_mac = list(&lab.host.netns).unwrap().iter().find(|one| one.index == side.index).unwrap().mac.unwrap();
    let macs = (side.pod.mac.unwrap(), host_mac);
    let server = lab.server.udp("[::]:6443");
    let routes = [
        Route::V4("10.9.0.2".parse().unwrap(), "10.9.1.2".parse().unwrap()),
        Route::V6("fd09::2".parse().unwrap(), "fd09:1::2".parse().unwrap()),
    ];
    for route in routes {
        let frame = udp_frame(macs, route, (4000, 6443), b"raw").unwrap();
        inject(&lab.pod.netns, side.pod.index, &frame).unwrap();
        assert_eq!(heard(&server).as_deref(), Some(&b"raw"[..]), "the receiver checks length and checksum");
    }
    let endpoints =
        ["10.9.1.2", "fd09:1::2"].map(|text| Endpoint { address: text.parse().unwrap(), ports: Ports::All });
    netfilter.set_endpoints(&endpoints).unwrap();
    for route in routes {
        let frame = udp_frame(macs, route, (4000, 6443), b"raw").unwrap();
        inject(&lab.pod.netns, side.pod.index, &frame).unwrap();
    }
    let expected = HashMap::from([("10.9.0.2".parse().unwrap(), 1), ("fd09::2".parse().unwrap(), 1)]);
    eventually("both counted", || (netfilter.refused().unwrap() == expected).then_some(()));
}
