//! K7, K8, edge case 42: kubelets, etcd, cloud metadata, and Services that make new addresses of the API server.

use std::net::SocketAddr;

use guard_common::{Hook, Reason};
use guard_e2e::harness::{Echo, NodeNetns, PodPlan, unique};
use serde_json::json;

use crate::WORLD;
use crate::table::{
    Control::{ApiServer, Somebody},
    Guarded::{Dropped, Eperm},
    Way, await_open, await_refused, try_all,
};

#[test]
fn kubelets_and_etcd_are_closed_on_every_node() {
    let [first, second] = [0, 1].map(|index| NodeNetns::new(&WORLD.cluster.nodes[index].netns));
    let decoy = |netns: &NodeNetns, at: &str| Echo::tcp(netns, at.parse::<SocketAddr>().unwrap());
    // The kubelets' read-only port is off, and these nodes run no etcd.
    let _answering = [
        decoy(&first, "172.30.0.11:10255"),
        decoy(&first, "172.30.0.11:2379"),
        decoy(&second, "172.30.0.12:2380"),
        decoy(&second, "[fd00:30::12]:2379"),
    ];
    let refused4 = Eperm(Hook::Connect4, Reason::ControlPlane);
    let refused6 = Eperm(Hook::Connect6, Reason::ControlPlane);
    let at_the_veth = Dropped(Hook::VethIngress, Reason::ControlPlane);
    let ways: &[Way<'_>] = &[
        ("connect --to 172.30.0.11:10250", Somebody, refused4),
        ("connect --to 172.30.0.12:10250", Somebody, refused4),
        ("connect --to [fd00:30::11]:10250", Somebody, refused6),
        ("connect --to [fd00:30::12]:10250", Somebody, refused6),
        ("connect --to [::ffff:172.30.0.11]:10250", Somebody, refused6),
        ("connect --to 172.30.0.11:10255 --speak nothing", Somebody, refused4),
        ("connect --to 172.30.0.11:2379 --speak nothing", Somebody, refused4),
        ("connect --to 172.30.0.12:2380 --speak nothing", Somebody, refused4),
        ("connect --to [fd00:30::12]:2379 --speak nothing", Somebody, refused6),
        // The real one, beside the API server.
        ("connect --to 172.30.0.10:2379", Somebody, refused4),
        ("connect --to 172.30.0.10:2380", Somebody, refused4),
        ("packet --to 172.30.0.11:10250", Somebody, at_the_veth),
        ("packet --to [fd00:30::12]:10250", Somebody, at_the_veth),
        ("packet --to 172.30.0.10:2379", Somebody, at_the_veth),
    ];
    try_all(&WORLD.ring.enter(), ways);
}

#[test]
fn addresses_of_the_node_that_nobody_lists_are_closed_too() {
    // The bridge that the pods hang on: the kubelet listens there as well.
    let behind = Dropped(Hook::Netfilter, Reason::ControlPlane);
    let ways: &[Way<'_>] = &[
        ("connect --to 10.244.1.1:10250", Somebody, behind),
        ("connect --to [fd00:10:244:1::1]:10250", Somebody, behind),
        ("packet --to 10.244.1.1:10250", Somebody, behind),
    ];
    try_all(&WORLD.ring.enter(), ways);
}

#[test]
fn cloud_metadata_is_closed() {
    let node = NodeNetns::new(&WORLD.cluster.nodes[0].netns);
    let _answering = ["169.254.169.254:80", "[fd00:ec2::254]:80"].map(|at| Echo::tcp(&node, at.parse().unwrap()));
    let ways: &[Way<'_>] = &[
        ("connect --to 169.254.169.254:80 --speak nothing", Somebody, Eperm(Hook::Connect4, Reason::ControlPlane)),
        ("connect --to [fd00:ec2::254]:80 --speak nothing", Somebody, Eperm(Hook::Connect6, Reason::ControlPlane)),
        ("packet --to 169.254.169.254:80 --speak nothing", Somebody, Dropped(Hook::VethIngress, Reason::ControlPlane)),
    ];
    try_all(&WORLD.ring.enter(), ways);
}

#[test]
fn a_service_makes_no_new_way_to_the_api_server() {
    let arena = WORLD.ring.enter();
    let name = unique("door");
    WORLD.kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {
                "type": "NodePort",
                "externalIPs": ["203.0.113.7"],
                "ports": [{"name": "https", "port": 443, "targetPort": 6443}],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["172.30.0.10"], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        },
    ]}));
    let service = WORLD.kubectl.get("service", &name);
    let cluster_ip = service["spec"]["clusterIP"].as_str().unwrap();
    let node_port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let connects = [format!("connect --to {cluster_ip}:443"), format!("connect --to 172.30.0.11:{node_port}")];
    for way in &connects {
        await_open(&arena.ordinary, way);
    }
    let packets = [format!("packet --to {cluster_ip}:443"), format!("packet --to 172.30.0.11:{node_port}")];
    let ways: Vec<Way<'_>> = connects
        .iter()
        .chain(&packets)
        .map(|way| (way.as_str(), ApiServer, Dropped(Hook::Netfilter, Reason::ControlPlane)))
        .collect();
    try_all(&arena, &ways);
    // Another node rewrites these too, where nothing tells whose packet it is: here it must not leave.
    let elsewhere = [format!("connect --to 172.30.0.12:{node_port}"), "connect --to 203.0.113.7:443".to_owned()];
    for way in &elsewhere {
        await_open(&arena.ordinary, way);
        await_refused(&arena.agent, way);
    }
    let refused = Eperm(Hook::Connect4, Reason::ControlPlane);
    let at_the_veth = Dropped(Hook::VethIngress, Reason::ControlPlane);
    let raw = format!("packet --to 172.30.0.12:{node_port}");
    let ways = [(&elsewhere[0], refused), (&elsewhere[1], refused), (&raw, at_the_veth)];
    try_all(&arena, &ways.map(|(way, guarded)| (way.as_str(), ApiServer, guarded)));
    WORLD.kubectl.run(["delete", "service", &name]).ok();
}

#[test]
fn a_service_on_a_pod_in_the_nodes_network_makes_no_way_to_the_kubelet() {
    let arena = WORLD.ring.enter();
    let name = unique("kubelet-door");
    let plan = PodPlan::ordinary(&name).host_network().label("door", &name);
    let _on_the_node = WORLD.pod(plan);
    WORLD.kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"door": name}, "ports": [{"port": 443, "targetPort": 10250}]},
    }));
    let service = WORLD.kubectl.get("service", &name);
    let connects = [format!("connect --to {}:443", service["spec"]["clusterIP"].as_str().unwrap())];
    for way in &connects {
        await_open(&arena.ordinary, way);
    }
    try_all(&arena, &[(&connects[0], Somebody, Dropped(Hook::Netfilter, Reason::ControlPlane))]);
    WORLD.kubectl.run(["delete", "service", &name]).ok();
}
