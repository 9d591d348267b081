//! K7, edge case 42, from another node: what that node rewrites, unpacks or answers itself has lost the agents' mark on its way.

use guard_common::{Hook, Reason};
use guard_e2e::harness::{PodPlan, unique};
use serde_json::{Value, json};

use crate::WORLD;
use crate::table::{
    Control::{ApiServer, Somebody},
    Guarded::{Dropped, Eperm},
    Way, await_open, await_refused, try_all,
};

const AT_THE_VETH: crate::table::Guarded = Dropped(Hook::VethIngress, Reason::ControlPlane);
const REFUSED: crate::table::Guarded = Eperm(Hook::Connect4, Reason::ControlPlane);

#[test]
fn another_node_is_closed_at_the_address_that_it_has_in_its_pods_network() {
    let arena = WORLD.ring.enter();
    // The bridge is there as soon as a pod is.
    let _neighbour = WORLD.pod(PodPlan::ordinary(unique("neighbour")).on(1));
    let ways: &[Way<'_>] = &[
        ("connect --to 10.244.2.1:10250", Somebody, REFUSED),
        ("connect --to [fd00:10:244:2::1]:10250", Somebody, Eperm(Hook::Connect6, Reason::ControlPlane)),
        ("packet --to 10.244.2.1:10250", Somebody, AT_THE_VETH),
        // The other node unpacks it, and sends it on as anybody's.
        ("packet --to 172.30.0.10:6443 --dressing vxlan --via 10.244.2.1", ApiServer, AT_THE_VETH),
        ("packet --to 172.30.0.10:6443 --dressing vxlan --via 10.244.2.255", ApiServer, AT_THE_VETH),
    ];
    try_all(&arena, ways);
}

#[test]
fn a_service_that_leads_to_another_services_node_port_makes_no_way() {
    let arena = WORLD.ring.enter();
    let (last, first) = (unique("last-door"), unique("first-door"));
    let last_port = node_port(&service(&last, &json!({"type": "NodePort"}), 443, "172.30.0.10", 6443));
    let first_port = node_port(&service(&first, &json!({"type": "NodePort"}), 443, "172.30.0.11", last_port));
    let connect = format!("connect --to 172.30.0.12:{first_port}");
    await_open(&arena.ordinary, &connect);
    await_refused(&arena.agent, &connect);
    let packet = format!("packet --to 172.30.0.12:{first_port}");
    try_all(&arena, &[(&connect, ApiServer, REFUSED), (&packet, ApiServer, AT_THE_VETH)]);
    WORLD.kubectl.run(["delete", "service", &last, &first]).ok();
}

#[test]
fn an_external_address_is_closed_before_this_nodes_kube_proxy_knows_of_it() {
    let arena = WORLD.ring.enter();
    let name = unique("external");
    // This node's kube-proxy rewrites it too, which netfilter would see; until it does, the other node's would.
    service(&name, &json!({"externalIPs": ["172.30.0.12"]}), 7443, "172.30.0.10", 6443);
    let connect = "connect --to 172.30.0.12:7443";
    await_open(&arena.ordinary, connect);
    await_refused(&arena.agent, connect);
    try_all(&arena, &[(connect, ApiServer, REFUSED)]);
    WORLD.kubectl.run(["delete", "service", &name]).ok();
}

#[test]
fn a_service_with_addresses_without_end_keeps_no_door_open() {
    let arena = WORLD.ring.enter();
    let (flood, door) = (unique("flood"), unique("behind-the-flood"));
    let ports: Vec<Value> = (0..250)
        .map(|number| json!({"name": format!("p{number}"), "port": 1000 + number, "targetPort": 6443}))
        .collect();
    let spec = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports});
    create(&flood, &spec, "172.30.0.10", 6443);
    let addresses: Vec<Value> =
        (0..400).map(|number| json!({"ip": format!("1.0.{}.{}", number / 200, number % 200)})).collect();
    let status = json!({"status": {"loadBalancer": {"ingress": addresses}}}).to_string();
    WORLD.kubectl.run(["patch", "service", &flood, "--subresource=status", "--type=merge", "--patch", &status]).ok();
    let port = node_port(&service(&door, &json!({"type": "NodePort"}), 443, "172.30.0.10", 6443));
    let connect = format!("connect --to 172.30.0.12:{port}");
    await_open(&arena.ordinary, &connect);
    await_refused(&arena.agent, &connect);
    try_all(&arena, &[(&connect, ApiServer, REFUSED)]);
    WORLD.kubectl.run(["delete", "service", &flood, &door]).ok();
}

/// A Service of this kind, its port and where that leads.
#[track_caller]
fn service(name: &str, kind: &Value, port: u16, address: &str, to: u16) -> Value {
    let mut spec = kind.clone();
    spec["ports"] = json!([{"name": "p0", "port": port, "targetPort": to}]);
    create(name, &spec, address, to)
}

#[track_caller]
fn create(name: &str, spec: &Value, address: &str, to: u16) -> Value {
    WORLD.kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec},
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            "ports": [{"name": "p0", "port": to, "protocol": "TCP"}],
        },
    ]}));
    WORLD.kubectl.get("service", name)
}

#[track_caller]
fn node_port(service: &Value) -> u16 {
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
    port.expect("a NodePort is given at once")
}
