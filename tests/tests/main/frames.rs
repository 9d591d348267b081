//! K4, K4b: packets of the pod's own making, by every road and in every dress, end at its veth, or behind it.

use guard_common::{Hook, Reason};
use guard_e2e::harness::{Agent, Arena, PodPlan};

use crate::WORLD;
use crate::table::{
    Control::{ApiServer, ApiServerIfDelivered},
    Guarded,
    Guarded::{Dropped, Eperm},
    Way, try_all,
};

const IN_THE_SET: Guarded = Dropped(Hook::VethIngress, Reason::ControlPlane);

#[test]
fn frames_past_the_pods_own_stack_end_at_its_veth() {
    let ways: &[Way<'_>] = &[
        ("packet --to 172.30.0.10:6443", ApiServer, IN_THE_SET),
        ("packet --to [fd00:30::10]:6443", ApiServer, IN_THE_SET),
        ("packet --to 10.96.0.1:443", ApiServer, IN_THE_SET),
        ("packet --to [fd00:10:96::1]:443", ApiServer, IN_THE_SET),
        ("packet --to 172.30.0.200:6443", ApiServer, IN_THE_SET),
        ("packet --to 172.30.0.10:6443 --carrier cooked", ApiServer, IN_THE_SET),
        ("packet --to [fd00:30::10]:6443 --carrier cooked", ApiServer, IN_THE_SET),
        ("packet --to 172.30.0.10:6443 --carrier qdisc-bypass", ApiServer, IN_THE_SET),
        ("packet --to 172.30.0.10:6443 --carrier tx-ring", ApiServer, IN_THE_SET),
        ("packet --to [fd00:30::10]:6443 --carrier tx-ring", ApiServer, IN_THE_SET),
        ("packet --to 172.30.0.10:6443 --carrier xdp", ApiServer, IN_THE_SET),
        ("packet --to [fd00:30::10]:6443 --carrier xdp", ApiServer, IN_THE_SET),
    ];
    try_all(&WORLD.ring.enter(), ways);
}

#[test]
fn raw_sockets_are_refused_by_the_pods_cgroup() {
    let refused = Eperm(Hook::SkbEgress, Reason::ControlPlane);
    let ways: &[Way<'_>] = &[
        ("packet --to 172.30.0.10:6443 --carrier raw-ip", ApiServer, refused),
        ("packet --to [fd00:30::10]:6443 --carrier raw-ip", ApiServer, refused),
    ];
    try_all(&WORLD.ring.enter(), ways);
}

#[test]
fn what_a_pod_forwards_from_a_tun_device_ends_at_its_veth() {
    let agent = PodPlan::agent("router-agent", Agent("attacker")).privileged();
    let [agent, ordinary] = WORLD.pods(&[agent, PodPlan::ordinary("router-ordinary").privileged()]);
    for pod in [&agent, &ordinary] {
        pod.netns().sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    }
    // Another free address of the pods' network: one's own would be a martian to the pod's own kernel.
    let way = "packet --to 172.30.0.10:6443 --carrier tun --foreign-source";
    try_all(&Arena { agent, ordinary }, &[(way, ApiServer, IN_THE_SET)]);
}

#[test]
fn a_disguise_gets_no_ipv4_packet_through() {
    let dropped = |reason| Dropped(Hook::VethIngress, reason);
    let ways: &[Way<'_>] = &[
        ("packet --to 172.30.0.10:6443 --dressing padding", ApiServer, IN_THE_SET),
        ("packet --to 172.30.0.10:6443 --dressing priority-tag", ApiServer, dropped(Reason::Tagged)),
        ("packet --to 172.30.0.10:6443 --dressing vlan-tag", ApiServerIfDelivered, dropped(Reason::Tagged)),
        ("packet --to 172.30.0.10:6443 --dressing double-tag", ApiServerIfDelivered, dropped(Reason::Tagged)),
        ("packet --to 172.30.0.10:6443 --dressing fragments", ApiServer, dropped(Reason::Portless)),
        ("packet --to 172.30.0.10:6443 --dressing fragments-reversed", ApiServer, dropped(Reason::Portless)),
        ("packet --to 172.30.0.10:6443 --dressing fragments-twice", ApiServer, dropped(Reason::Portless)),
        ("packet --to 172.30.0.10:6443 --dressing fragments-tiny", ApiServer, dropped(Reason::Portless)),
        // Linux takes none that overlap.
        (
            "packet --to 172.30.0.10:6443 --dressing fragments-overlapping",
            ApiServerIfDelivered,
            dropped(Reason::Portless),
        ),
        (
            "packet --to 172.30.0.10:6443 --dressing loose-source-route --via 10.244.1.1",
            ApiServer,
            dropped(Reason::SourceRouted),
        ),
        (
            "packet --to 172.30.0.10:6443 --dressing strict-source-route --via 10.244.1.1",
            ApiServer,
            dropped(Reason::SourceRouted),
        ),
        ("packet --to 172.30.0.10:6443 --dressing record-route", ApiServer, dropped(Reason::SourceRouted)),
        ("packet --to 172.30.0.10:6443 --dressing router-alert", ApiServer, IN_THE_SET),
        ("packet --to 172.30.0.10:6443 --foreign-source", ApiServer, IN_THE_SET),
        ("packet --to 172.30.0.10:6443 --dressing fragments --carrier tx-ring", ApiServer, dropped(Reason::Portless)),
    ];
    try_all(&WORLD.ring.enter(), ways);
}

#[test]
fn a_disguise_gets_no_ipv6_packet_through() {
    let dropped = |reason| Dropped(Hook::VethIngress, reason);
    let ways: &[Way<'_>] = &[
        ("packet --to [fd00:30::10]:6443 --dressing padding", ApiServer, IN_THE_SET),
        ("packet --to [fd00:30::10]:6443 --dressing priority-tag", ApiServer, dropped(Reason::Tagged)),
        ("packet --to [fd00:30::10]:6443 --dressing fragments", ApiServer, dropped(Reason::Portless)),
        ("packet --to [fd00:30::10]:6443 --dressing fragments-reversed", ApiServer, dropped(Reason::Portless)),
        ("packet --to [fd00:30::10]:6443 --dressing fragments-twice", ApiServer, dropped(Reason::Portless)),
        // Linux takes none that overlap, and no first one that is short.
        (
            "packet --to [fd00:30::10]:6443 --dressing fragments-overlapping",
            ApiServerIfDelivered,
            dropped(Reason::Portless),
        ),
        ("packet --to [fd00:30::10]:6443 --dressing fragments-tiny", ApiServerIfDelivered, dropped(Reason::Portless)),
        ("packet --to [fd00:30::10]:6443 --dressing fragment-atomic", ApiServer, dropped(Reason::Portless)),
        ("packet --to [fd00:30::10]:6443 --dressing hop-by-hop", ApiServer, IN_THE_SET),
        ("packet --to [fd00:30::10]:6443 --dressing destination-options", ApiServer, IN_THE_SET),
        ("packet --to [fd00:30::10]:6443 --dressing many-extension-headers", ApiServer, dropped(Reason::Unparsed)),
        (
            "packet --to [fd00:30::10]:6443 --dressing routing-header --via fd00:10:244:1::1",
            ApiServer,
            dropped(Reason::SourceRouted),
        ),
        (
            "packet --to [fd00:30::10]:6443 --dressing segment-routing --via fd00:10:244:1::1",
            ApiServer,
            dropped(Reason::SourceRouted),
        ),
        ("packet --to [fd00:30::10]:6443 --foreign-source", ApiServer, IN_THE_SET),
    ];
    try_all(&WORLD.ring.enter(), ways);
}

#[test]
fn a_tunnel_gets_no_packet_through() {
    let to_a_port = Dropped(Hook::VethIngress, Reason::ControlPlane);
    let without_ports = Dropped(Hook::VethIngress, Reason::Portless);
    // Behind the veth: the port is none that is known for an overlay, so what the node unpacks is judged.
    let unpacked = Dropped(Hook::Netfilter, Reason::ControlPlane);
    let ways: &[Way<'_>] = &[
        ("packet --to 172.30.0.10:6443 --dressing vxlan --via 172.30.0.11", ApiServer, to_a_port),
        ("packet --to 172.30.0.10:6443 --dressing vxlan --via 172.30.0.11 --overlay-port 9999", ApiServer, unpacked),
        ("packet --to 10.96.0.1:443 --dressing vxlan --via 10.244.1.1 --overlay-port 9999", ApiServer, unpacked),
        ("packet --to 172.30.0.10:6443 --dressing geneve --via 172.30.0.11", ApiServerIfDelivered, to_a_port),
        ("packet --to 172.30.0.10:6443 --dressing ip-in-ip --via 172.30.0.11", ApiServerIfDelivered, without_ports),
        ("packet --to 172.30.0.10:6443 --dressing gre --via 172.30.0.11", ApiServerIfDelivered, without_ports),
        // WireGuard, whose packets are a socket's of the kernel: guard-kernel's tests, on kernels that have it.
    ];
    try_all(&WORLD.ring.enter(), ways);
}
