//! What the host itself sends on, behind FORWARD: IPVS, duplicates, its own tunnels.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use guard_kernel::netfilter::{Endpoint, Hook, Netfilter, Options, Ports};

use crate::genetlink::{Family, attribute, nest};
use crate::lab::{Lab, eventually, heard};

const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 2);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 1);
/// An address of the host's that IPVS serves.
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 9);
const TCP: u8 = 6;
const UDP: u8 = 17;

fn open(lab: &Lab) -> Netfilter {
    let options = Options { table: "egress_guard_test".into(), mark: 0x100, log_group: 4078 };
    Netfilter::open(&lab.host.netns, options).unwrap()
}

fn endpoint(address: Ipv4Addr, protocol: u8, port: u16) -> Endpoint {
    Endpoint { address: address.into(), ports: Ports::One { protocol: Some(protocol), port } }
}

#[test]
fn a_duplicate_that_the_host_sends_is_refused_as_the_packet_is() {
    let lab = Lab::new();
    let netfilter = open(&lab);
    // Passes OUTPUT, with the mark of what it was made of.
    lab.host.nft("table ip tee { chain prerouting { type filter hook prerouting priority 0; iifname to_pod dup to 10.9.1.2; }; }");
    let server = lab.server.listen("10.9.1.2:6443");
    lab.pod.connect((SERVER, 6443).into()).unwrap();
    netfilter.set_endpoints(&[endpoint(SERVER, TCP, 6443)]).unwrap();
    lab.pod.connect((SERVER, 6443).into()).unwrap_err();
    drop(server);
    let refused = netfilter.refused().unwrap()[&POD];
    assert!(refused >= 2 && refused.is_multiple_of(2), "the packet and its duplicate, once each: {refused}");
}

#[test]
fn a_tunnel_of_the_host_s_own_carries_what_an_agent_sends_to_another_node_s_pods() {
    let lab = Lab::new();
    let netfilter = open(&lab);
    let (pod, node) = (lab.pod.udp("0.0.0.0:0"), lab.server.udp("10.9.1.2:8472"));
    // A node's overlay port is in the set: no agent speaks to it. What the host packs up for it is no agent's.
    netfilter.set_endpoints(&[endpoint(SERVER, UDP, 8472)]).unwrap();
    pod.send_to(b"x", "10.9.1.2:8472").unwrap();
    assert_eq!(heard(&node), None);
    lab.host.ip("link add overlay address 02:00:00:00:00:01 type vxlan id 9 remote 10.9.1.2 dstport 8472");
    lab.host.ip("addr add 10.77.0.1/24 dev overlay");
    lab.host.ip("link set overlay up");
    lab.host.ip("neigh add 10.77.0.5 lladdr 02:00:00:00:00:05 dev overlay");
    pod.send_to(b"inside", "10.77.0.5:5000").unwrap();
    // The device has things of its own to say.
    eventually("the packet, packed up", || heard(&node).filter(|packed| packed.ends_with(b"inside")));
    assert_eq!(netfilter.refused().unwrap(), HashMap::from([(POD, 1)]));
}

/// What is printed is looked for on the kernels of the matrix that have IPVS (`cargo xtask kernels`).
#[test]
fn what_ipvs_makes_of_an_address_is_refused_behind_it() {
    let lab = Lab::new();
    // It has no alias by which the kernel would load it. Where it isn't a module, that fails, and it is there or not.
    let _ = Command::new("modprobe").args(["--quiet", "ip_vs"]).status();
    let Some(ipvs) = lab.host.netns.run(|| Family::open("IPVS")).unwrap() else {
        println!("this kernel: no IPVS, and so none that sends packets on");
        return;
    };
    let netfilter = open(&lab);
    let mut reports = netfilter.reports(&lab.host.netns).unwrap();
    lab.host.ip(&format!("addr add {VIRTUAL}/32 dev lo"));
    let (server, host) = (lab.server.listen("10.9.1.2:6443"), lab.host.listen("10.9.1.1:6443"));
    serve(&ipvs, 443, SERVER, 6443);
    serve(&ipvs, 444, HOST, 6443);
    let connect = |port: u16| lab.pod.connect((VIRTUAL, port).into());
    let reaches = |port| connect(port).unwrap();
    // A connect is tried again every second or so, and longer where the machine is busy: each try is counted, once.
    lab.host.nft(&format!(
        "table ip seen {{
            counter tries {{ }}
            chain prerouting {{
                type filter hook prerouting priority -450
                ip daddr {VIRTUAL} tcp flags & (syn | ack) == syn counter name tries
            }}
        }}"
    ));
    let tries = || counted(&lab.host.nft("list counter ip seen tries"));
    let counts = || netfilter.refused().unwrap().get(&POD).copied().unwrap_or(0);
    let is_refused = |port| {
        let before = (tries(), counts());
        connect(port).unwrap_err();
        let (sent, refused) = (tries() - before.0, counts() - before.1);
        assert!(sent > 0);
        assert_eq!(refused, sent, "{port}");
        refused
    };
    let mut expected = Vec::new();
    let mut expect = |hook, address: Ipv4Addr, times| {
        expected.extend((0..times).map(|_| (hook, IpAddr::V4(address), Some(6443))));
    };
    reaches(443);
    reaches(444);
    netfilter.set_endpoints(&[endpoint(SERVER, TCP, 6443)]).unwrap();
    expect(Hook::Output, SERVER, is_refused(443));
    reaches(444);
    netfilter.set_endpoints(&[endpoint(HOST, TCP, 6443)]).unwrap();
    expect(Hook::Input, HOST, is_refused(444));
    reaches(443);
    netfilter.set_endpoints(&[]).unwrap();
    netfilter.set_local_ports(&[(TCP, 6443)]).unwrap();
    expect(Hook::Input, HOST, is_refused(444));
    reaches(443);
    drop((server, host));
    let mut seen = Vec::new();
    eventually("reports", || {
        seen.extend(reports.read().into_iter().flatten().map(|one| (one.hook, one.destination, one.port)));
        (seen.len() >= expected.len()).then_some(())
    });
    assert_eq!(seen, expected);
    println!("this kernel: what IPVS sends on is refused");
}

/// The packets of a counter that `nft` lists.
fn counted(listed: &str) -> u64 {
    listed.split_whitespace().skip_while(|word| *word != "packets").nth(1).unwrap().parse().unwrap()
}

/// A TCP service of one real server, masqueraded as kube-proxy does it. Numbers of `linux/ip_vs.h`.
fn serve(ipvs: &Family, port: u16, to: Ipv4Addr, to_port: u16) {
    const NEW_SERVICE: (u8, u8) = (1, 1);
    const NEW_DESTINATION: (u8, u8) = (5, 1);
    let number = |kind, value: u32| attribute(kind, &value.to_ne_bytes());
    let short = |kind, value: u16| attribute(kind, &value.to_ne_bytes());
    let address = |kind, address: Ipv4Addr| attribute(kind, &[&address.octets()[..], &[0; 12]].concat());
    let key = [
        short(1, u16::try_from(libc::AF_INET).unwrap()),
        short(2, TCP.into()),
        address(3, VIRTUAL),
        attribute(4, &port.to_be_bytes()),
    ];
    // Scheduler, flags with their mask, time-out, netmask.
    let more =
        [attribute(6, b"rr\0"), attribute(7, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), number(8, 0), number(9, u32::MAX)];
    ipvs.ask(NEW_SERVICE, &nest(1, &[&key[..], &more].concat()));
    // Forwarding method 0 is masquerading; weight, thresholds.
    let destination =
        [address(1, to), attribute(2, &to_port.to_be_bytes()), number(3, 0), number(4, 1), number(5, 0), number(6, 0)];
    ipvs.ask(NEW_DESTINATION, &[nest(1, &key), nest(2, &destination)].concat());
}
