//! The cluster's network: a bridge in the control plane's namespace joins the nodes, each node routes to the others' pods.
//!
//! Everything lies inside the cluster's own namespaces, so the addresses are the same in every cluster and touch nothing of
//! the machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Name;
use crate::netns;
use crate::run::{capture, capture_with_input, command};

/// The most nodes that the address plan and the names are meant for.
pub(super) const MOST_NODES: usize = 9;
/// The `ClusterIP`s of `kubernetes` and `kubernetes-ipv6`.
pub(super) const CLUSTER_IPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 1))];
/// Service networks. An IPv6 one has at most 20 bits (the API server's limit).
pub(super) const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/108"];
/// The pods of all nodes.
pub(super) const POD_CIDRS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];

/// The control plane's addresses.
pub(super) fn control_plane_addresses() -> [IpAddr; 2] {
    fabric_addresses(0)
}

/// The addresses of the second API server, where there is one: a machine of its own on the fabric.
pub(super) fn second_api_server_addresses() -> [IpAddr; 2] {
    [IpAddr::V4(Ipv4Addr::new(172, 30, 0, 20)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, 0x20))]
}

/// The addresses of a node, counted from 0.
pub(super) fn node_addresses(index: usize) -> [IpAddr; 2] {
    fabric_addresses(index + 1)
}

/// The pod networks of a node, counted from 0.
pub(super) fn pod_cidrs(index: usize) -> [String; 2] {
    let number = index + 1;
    [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")]
}

fn fabric_addresses(machine: usize) -> [IpAddr; 2] {
    let last = 10 + u8::try_from(machine).expect("nodes are counted up to MOST_NODES");
    [
        IpAddr::V4(Ipv4Addr::new(172, 30, 0, last)),
        // The hexadecimal digits read like the decimal ones of IPv4: .12 and ::12.
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, 0x10 + u16::from(last - 10))),
    ]
}

/// The namespaces of a cluster.
pub(super) struct Namespaces {
    pub(super) control_plane: PathBuf,
    /// Of the second API server.
    pub(super) second_api_server: Option<PathBuf>,
    pub(super) nodes: Vec<PathBuf>,
}

/// Makes the namespaces and joins them.
pub(super) fn create(name: &Name, nodes: usize, api_servers: usize) -> Result<Namespaces> {
    let control_plane = netns::create(&name.netns("cp"))?;
    forwards(&control_plane)?;
    let [v4, v6] = control_plane_addresses();
    ip(
        name,
        "cp",
        &format!(
            "link set lo up\nlink add fabric type bridge\nlink set fabric up\n\
             addr add {v4}/24 dev fabric\naddr add {v6}/64 dev fabric nodad\n"
        ),
    )?;
    let nodes = (0..nodes).map(|index| join(name, index, nodes)).collect::<Result<Vec<_>>>()?;
    // What the API server calls by ClusterIP (webhooks) goes by way of the first node, whose kube-proxy knows the way.
    let [v4, v6] = node_addresses(0);
    ip(name, "cp", &format!("route add {} via {v4}\nroute add {} via {v6}\n", SERVICE_CIDRS[0], SERVICE_CIDRS[1]))?;
    let second_api_server = (api_servers > 1).then(|| join_second_api_server(name)).transpose()?;
    Ok(Namespaces { control_plane, second_api_server, nodes })
}

/// Its way to pods leads through the first, its way to ClusterIPs through the first node.
fn join_second_api_server(name: &Name) -> Result<PathBuf> {
    let machine = "cp2";
    let path = netns::create(&name.netns(machine))?;
    ip(
        name,
        "cp",
        &format!(
            "link add {machine} type veth peer name eth0 netns {}\nlink set {machine} master fabric up\n",
            name.netns(machine)
        ),
    )?;
    let ([v4, v6], [gateway4, gateway6]) = (second_api_server_addresses(), control_plane_addresses());
    let [node4, node6] = node_addresses(0);
    ip(
        name,
        machine,
        &format!(
            "link set lo up\nlink set eth0 up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n\
             route add default via {gateway4}\nroute add default via {gateway6}\n\
             route add {} via {node4}\nroute add {} via {node6}\n",
            SERVICE_CIDRS[0], SERVICE_CIDRS[1]
        ),
    )?;
    Ok(path)
}

fn join(name: &Name, index: usize, nodes: usize) -> Result<PathBuf> {
    let node = format!("n{}", index + 1);
    let path = netns::create(&name.netns(&node))?;
    forwards(&path)?;
    let [v4, v6] = node_addresses(index);
    let pods = pod_cidrs(index);
    ip(
        name,
        "cp",
        &format!(
            "link add {node} type veth peer name eth0 netns {}\nlink set {node} master fabric up\n\
             route add {} via {v4}\nroute add {} via {v6}\n",
            name.netns(&node),
            pods[0],
            pods[1]
        ),
    )?;
    let [gateway4, gateway6] = control_plane_addresses();
    let mut lines = format!(
        "link set lo up\nlink set eth0 up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n\
         route add default via {gateway4}\nroute add default via {gateway6}\n"
    );
    for other in (0..nodes).filter(|other| *other != index) {
        use std::fmt::Write as _;
        let ([via4, via6], cidrs) = (node_addresses(other), pod_cidrs(other));
        let _ = write!(lines, "route add {} via {via4}\nroute add {} via {via6}\n", cidrs[0], cidrs[1]);
    }
    ip(name, &node, &lines)?;
    Ok(path)
}

fn ip(name: &Name, machine: &str, lines: &str) -> Result<()> {
    capture_with_input(&mut command("ip", ["-n", &name.netns(machine), "-batch", "-"]), lines)
        .map(drop)
        .with_context(|| format!("laying the network of {machine}"))
}

/// The namespace routes, and its bridges hand packets to netfilter: else a ClusterIP whose pod is on the same bridge never answers.
fn forwards(namespace: &Path) -> Result<()> {
    if !Path::new("/proc/sys/net/bridge").exists() {
        capture(&mut command("modprobe", ["br_netfilter"]))
            .context("the kernel lacks br_netfilter (CONFIG_BRIDGE_NETFILTER)")?;
    }
    netns::run_in(namespace, || {
        for (setting, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("bridge/bridge-nf-call-iptables", "1"),
            ("bridge/bridge-nf-call-ip6tables", "1"),
        ] {
            let file = Path::new("/proc/sys/net").join(setting);
            fs::write(&file, value).with_context(|| format!("setting {} to {value}", file.display()))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_has_addresses_of_its_own_that_read_alike() {
        assert_eq!(control_plane_addresses().map(|a| a.to_string()), ["172.30.0.10", "fd00:30::10"]);
        assert_eq!(node_addresses(1).map(|a| a.to_string()), ["172.30.0.12", "fd00:30::12"]);
        assert_eq!(node_addresses(MOST_NODES - 1).map(|a| a.to_string()), ["172.30.0.19", "fd00:30::19"]);
        assert_eq!(pod_cidrs(0), ["10.244.1.0/24", "fd00:10:244:1::/64"]);
    }
}
