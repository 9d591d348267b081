use serde_json::json;

use super::*;

fn slice(addresses: &[&str]) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": "kubernetes"}, "addressType": "IPv4",
        "endpoints": [{"addresses": addresses}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    }))
    .unwrap()
}

fn node(name: &str, addresses: &[&str]) -> Node {
    let addresses: Vec<_> = addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
    serde_json::from_value(json!({"metadata": {"name": name}, "status": {"addresses": addresses}})).unwrap()
}

fn view() -> View {
    let service = serde_json::from_value(json!({
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00:96::1"], "ports": [{"port": 443, "targetPort": 6443}]},
    }))
    .unwrap();
    let mut view = View::default();
    view.set_service(&service);
    view.set_slices([&slice(&["192.168.0.1"])]);
    view.set_nodes([&node("cp", &["192.168.0.1", "cp.example"]), &node("n1", &["192.168.0.2", "fd00::2"])]);
    view
}

fn entry(address: &str, service: Service) -> Entry {
    Entry { address: address.parse().unwrap(), service }
}

#[test]
fn a_cluster_ip_is_the_api_server_and_nothing_else() {
    let set = view().control_plane("n1", &ControlPlane::default());
    for address in ["10.96.0.1", "fd00:96::1"] {
        assert!(set.entries.contains(&entry(address, Service::All)), "{address}");
        assert!(set.entries.contains(&entry(address, Service::ApiServer { port: 443 })), "{address}");
    }
}

#[test]
fn an_endpoint_is_redirected_at_its_port_alone() {
    let set = view().control_plane("n1", &ControlPlane::default());
    assert!(set.entries.contains(&entry("192.168.0.1", Service::ApiServer { port: 6443 })));
    assert!(!set.entries.contains(&entry("192.168.0.1", Service::All)));
}

#[test]
fn kubelet_etcd_and_overlay_are_refused_on_every_node() {
    let set = view().control_plane("n1", &ControlPlane::default());
    for address in ["192.168.0.1", "192.168.0.2", "fd00::2"] {
        for port in [10250, 10255, 2379, 2380] {
            assert!(
                set.entries.contains(&entry(address, Service::Refused { protocol: None, port })),
                "{address}:{port}"
            );
        }
        for port in [4789, 8472, 6081] {
            let service = Service::Refused { protocol: Some(PROTOCOL_UDP), port };
            assert!(set.entries.contains(&entry(address, service)), "{address}:{port}");
        }
    }
    assert!(set.local_ports.contains(&(PROTOCOL_TCP, 10250)));
    assert!(set.local_ports.contains(&(PROTOCOL_UDP, 8472)));
}

#[test]
fn other_nodes_are_closed_at_the_addresses_that_they_have_in_their_pods_network() {
    let with_range = |name: &str, address: &str, range: &str| -> Node {
        let mut node = node(name, &[address]);
        node.spec = serde_json::from_value(json!({"podCIDRs": [range]})).unwrap();
        node
    };
    let mut view = view();
    view.set_nodes([
        &with_range("cp", "192.168.0.1", "10.1.0.0/24"),
        &with_range("n1", "192.168.0.2", "10.1.1.0/24"),
        &with_range("n2", "192.168.0.3", "10.1.2.0/24"),
    ]);
    let set = view.control_plane("n1", &ControlPlane::default());
    let refused = |address, port| set.entries.contains(&entry(address, Service::Refused { protocol: None, port }));
    assert!(refused("10.1.2.1", 10250) && refused("10.1.2.0", 10250) && refused("10.1.0.1", 10250));
    assert!(refused("10.1.0.1", 6443), "the API server answers there as well");
    assert!(!refused("10.1.2.1", 6443));
    let overlay = Service::Refused { protocol: Some(PROTOCOL_UDP), port: 4789 };
    assert!(set.entries.contains(&entry("10.1.2.1", overlay)));
    let own: IpAddr = "10.1.1.1".parse().unwrap();
    assert!(!set.entries.iter().any(|entry| entry.address == own), "netfilter knows this node's own addresses");
}

#[test]
fn what_an_api_servers_certificate_is_for_is_in_the_set() {
    let mut view = view();
    let certified = ["192.168.0.1", "fd00::1", "203.0.113.7", "127.0.0.1"];
    view.set_certified(certified.iter().map(|address| address.parse().unwrap()).collect());
    let set = view.control_plane("n1", &ControlPlane::default());
    for (address, port) in [("fd00::1", 6443), ("fd00::1", 443), ("203.0.113.7", 6443), ("203.0.113.7", 443)] {
        assert!(set.entries.contains(&entry(address, Service::ApiServer { port })), "{address}:{port}");
    }
    assert!(!set.entries.contains(&entry("192.168.0.1", Service::ApiServer { port: 443 })), "an ingress may be there");
    assert!(!set.entries.iter().any(|entry| entry.address.is_loopback()), "a pod's loopback is its own");
}

#[test]
fn etcd_is_refused_beside_an_api_server_that_is_no_node() {
    let mut view = view();
    view.set_nodes([]);
    let set = view.control_plane("n1", &ControlPlane::default());
    let etcd = Service::Refused { protocol: None, port: 2379 };
    assert!(set.entries.contains(&entry("192.168.0.1", etcd)));
}

#[test]
fn cloud_metadata_is_always_in_the_set() {
    let set = View::default().control_plane("n1", &ControlPlane::default());
    for address in ["169.254.169.254", "fd00:ec2::254"] {
        assert!(set.entries.contains(&entry(address, Service::All)), "{address}");
    }
}

#[test]
fn the_api_servers_port_is_local_where_the_api_server_is() {
    let view = view();
    let ports = |node| view.control_plane(node, &ControlPlane::default()).local_ports;
    assert!(ports("cp").contains(&(PROTOCOL_TCP, 6443)));
    assert!(!ports("n1").contains(&(PROTOCOL_TCP, 6443)));
}

#[test]
fn endpoints_follow_the_slices_and_never_become_none() {
    let mut view = view();
    view.set_slices([&slice(&["192.168.0.1", "192.168.0.9"])]);
    assert_eq!(view.endpoints().len(), 2);
    view.set_slices([&slice(&["192.168.0.9"])]);
    assert_eq!(view.endpoints(), ["192.168.0.9:6443".parse().unwrap()]);
    view.set_slices([]);
    assert_eq!(view.endpoints(), ["192.168.0.9:6443".parse().unwrap()]);
}

#[test]
fn endpoints_without_end_leave_room_for_the_real_ones() {
    let many: Vec<_> = (0..1000).map(|number| format!("203.0.{}.{}", number / 250, number % 250)).collect();
    let mut flood = slice(&many.iter().map(String::as_str).collect::<Vec<_>>());
    flood.metadata.name = Some("a".to_owned());
    let mut view = view();
    view.set_slices([&flood, &slice(&["192.168.0.9"])]);
    assert_eq!(view.endpoints().len(), MAX_API_SERVERS);
    assert!(view.endpoints().contains(&"192.168.0.9:6443".parse().unwrap()));
}

#[test]
fn established_connections_to_the_set_are_told_from_others() {
    let set = view().control_plane("n1", &ControlPlane::default());
    for remote in
        ["10.96.0.1:443", "10.96.0.1:80", "192.168.0.1:6443", "192.168.0.2:10250", "[::ffff:192.168.0.1]:6443"]
    {
        assert!(contains(&set, remote.parse().unwrap()), "{remote}");
    }
    for remote in ["192.168.0.1:22", "10.96.0.10:53", "192.168.0.2:4789"] {
        assert!(!contains(&set, remote.parse().unwrap()), "{remote}");
    }
}

#[test]
fn a_gate_is_shown_each_kind_of_entry() {
    let mut view = view();
    view.set_certified(["10.96.0.1".parse().unwrap()].into());
    let witnesses = view.witnesses("n1");
    assert_eq!(witnesses.iter().collect::<BTreeSet<_>>().len(), witnesses.len(), "each once: {witnesses:?}");
    for witness in ["10.96.0.1:443", "192.168.0.1:6443", "192.168.0.2:10250", "192.168.0.2:2379", "169.254.169.254:80"]
    {
        assert!(witnesses.contains(&witness.parse().unwrap()), "{witness} is not in {witnesses:?}");
    }
}
