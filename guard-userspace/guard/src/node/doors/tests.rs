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

fn name(name: &str) -> ServiceName {
    ("x".to_owned(), name.to_owned())
}

fn nodes() -> Nodes {
    let set = |address: &str| BTreeSet::from([address.parse().unwrap()]);
    Nodes { own: set("192.168.0.2"), others: set("192.168.0.3") }
}

fn entry(address: &str, port: u16) -> Entry {
    refused(address.parse().unwrap(), (PROTOCOL_TCP, port))
}

fn is_api_server(endpoint: SocketAddr) -> bool {
    endpoint == "192.168.0.1:6443".parse().unwrap()
}

#[test]
fn what_leads_to_the_api_server_on_other_machines_is_in_the_set() {
    let door = service(json!({
        "spec": {
            "type": "LoadBalancer", "externalIPs": ["203.0.113.7"],
            "ports": [{"port": 443, "nodePort": 30443, "targetPort": 6443}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}, {"hostname": "lb.example"}]}},
    }));
    let entrances = BTreeMap::from([(name("door"), door.clone().unwrap()), (name("shop"), door.unwrap())]);
    let targets =
        BTreeMap::from([(name("1"), slice("door", "192.168.0.1", 6443)), (name("2"), slice("shop", "10.1.0.7", 8443))]);
    let found = entries(&entrances, &targets, &nodes(), is_api_server);
    assert_eq!(
        found,
        BTreeSet::from([entry("192.168.0.3", 30443), entry("203.0.113.7", 443), entry("203.0.113.9", 443)])
    );
    assert_eq!(entries(&entrances, &targets, &nodes(), |_| false), BTreeSet::new());
}

#[test]
fn a_service_that_leads_to_another_services_door_leads_there_too() {
    let door = |port: u16| service(json!({"spec": {"ports": [{"port": 443, "nodePort": port}]}})).unwrap();
    let entrances = BTreeMap::from([
        (name("a"), door(30001)),
        (name("b"), door(30002)),
        (name("c"), door(30003)),
        (name("d"), door(30004)),
    ]);
    let targets = BTreeMap::from([
        (name("1"), slice("a", "192.168.0.1", 6443)),
        // On this very node, and on another.
        (name("2"), slice("b", "192.168.0.2", 30001)),
        (name("3"), slice("c", "192.168.0.3", 30002)),
        // A pod with that port is no door.
        (name("4"), slice("d", "10.1.0.7", 30001)),
    ]);
    let found = entries(&entrances, &targets, &nodes(), is_api_server);
    assert_eq!(found, [30001, 30002, 30003].map(|port| entry("192.168.0.3", port)).into());
}

#[test]
fn a_service_that_leads_to_a_balancer_in_front_of_the_api_server_leads_there_too() {
    let balancer = json!({
        "spec": {"ports": [{"port": 443}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}},
    });
    let door = json!({"spec": {"ports": [{"port": 80, "nodePort": 30001}]}});
    let entrances =
        BTreeMap::from([(name("balancer"), service(balancer).unwrap()), (name("door"), service(door).unwrap())]);
    let targets = BTreeMap::from([
        (name("1"), slice("balancer", "192.168.0.1", 6443)),
        (name("2"), slice("door", "203.0.113.9", 443)),
    ]);
    let found = entries(&entrances, &targets, &nodes(), is_api_server);
    assert_eq!(found, BTreeSet::from([entry("203.0.113.9", 443), entry("192.168.0.3", 30001)]));
}

#[test]
fn more_doors_than_can_be_listed_close_the_whole_address() {
    let ports: Vec<_> = (0..200).map(|number| json!({"port": 1000 + number, "nodePort": 30000 + number})).collect();
    let addresses: Vec<_> = (0..200).map(|number| json!({"ip": format!("203.0.113.{number}")})).collect();
    let flood = json!({
        "spec": {"ports": ports, "externalIPs": ["192.168.0.2"]},
        "status": {"loadBalancer": {"ingress": addresses}},
    });
    let entrances = BTreeMap::from([(name("flood"), service(flood).unwrap())]);
    let targets = BTreeMap::from([(name("1"), slice("flood", "192.168.0.1", 6443))]);
    let found = entries(&entrances, &targets, &nodes(), is_api_server);
    let all = |address: &str| Entry { address: address.parse().unwrap(), service: Service::All };
    assert!(found.contains(&all("203.0.113.0")) && found.contains(&all("203.0.113.199")));
    assert!(!found.contains(&all("192.168.0.2")), "the kubelet's probes come from this node's own address");
    assert!(found.contains(&entry("192.168.0.3", 30000)), "NodePorts are few enough to be told apart");
    assert_eq!(found.len(), 400);

    let many = (0..100).map(|number| IpAddr::from([10, 0, 0, number])).collect();
    let found = entries(&entrances, &targets, &Nodes { others: many, ..nodes() }, is_api_server);
    assert!(found.contains(&all("10.0.0.99")));
    assert_eq!(found.len(), 300);
}

#[test]
fn a_service_that_every_node_rewrites_itself_needs_no_entry() {
    assert_eq!(service(json!({"spec": {"clusterIP": "10.96.0.5", "ports": [{"port": 443}]}})), None);
}
