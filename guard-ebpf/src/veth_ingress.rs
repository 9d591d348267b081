//! tcx (before kernel 6.6: clsact) ingress on the host side of a pod's veth: what nothing in the pod can go round.
//!
//! It passes only what it has parsed: untagged ARP, IPv4 and IPv6 from the pod's own addresses. It drops what goes to the
//! control-plane set, and marks the rest as an agent's for netfilter, since an address may become the API server's
//! behind the veth.

use aya_ebpf::{macros::classifier, programs::TcContext};
use guard_common::{Address, Hook, Reason, UNKNOWN_WORKLOAD, VethAddressKey};

use crate::{
    maps::{AGENT_MARK, VETH_ADDRESSES, VETHS},
    packet::{Packet, Problem},
    refuse::{Refused, refuse},
};

/// `TCX_NEXT`, and `TC_ACT_UNSPEC` of clsact: the programs behind this one decide.
const NEXT: i32 = -1;
/// `TCX_DROP`, and `TC_ACT_SHOT`.
const DROP: i32 = 2;

const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPES_OF_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// Ethernet and IPv4 with their address lengths (RFC 826).
const ARP_OF_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

#[classifier]
pub fn guard_veth_ingress(ctx: TcContext) -> i32 {
    // SAFETY: the context is valid for the program's run.
    let interface = unsafe { (&raw const (*ctx.skb.skb).ifindex).read_volatile() };
    // SAFETY: the entry is one word.
    let workload = unsafe { VETHS.get(&interface) }.map_or(UNKNOWN_WORKLOAD, |veth| veth.workload);
    match judge(&ctx, interface) {
        Ok(()) => {
            // SAFETY: as above.
            let mark = unsafe { (&raw const (*ctx.skb.skb).mark).read_volatile() };
            ctx.set_mark(mark | AGENT_MARK.load());
            NEXT
        }
        Err((problem, port)) => {
            let refused = Refused {
                workload,
                hook: Hook::VethIngress,
                reason: problem.reason,
                destination: problem.destination,
                port,
                protocol: problem.protocol,
            };
            refuse(&ctx, &refused);
            DROP
        }
    }
}

#[inline(always)]
fn judge(ctx: &TcContext, interface: u32) -> Result<(), (Problem, u16)> {
    let bare = |reason| (Problem { reason, destination: Address([0; 16]), protocol: 0 }, 0);
    let Ok(ethernet) = ctx.skb.load::<[u8; ETHERNET_HEADER]>(0) else {
        return Err(bare(Reason::Unparsed));
    };
    // SAFETY: the context is valid for the program's run.
    let untagged = unsafe { (&raw const (*ctx.skb.skb).vlan_present).read_volatile() } == 0;
    let ethertype = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    if !untagged || ETHERTYPES_OF_TAGS.contains(&ethertype) {
        return Err(bare(Reason::Tagged));
    }
    let parsed = match ethertype {
        ETHERTYPE_IPV4 => Packet::ipv4(&ctx.skb, ETHERNET_HEADER),
        ETHERTYPE_IPV6 => Packet::ipv6(&ctx.skb, ETHERNET_HEADER),
        ETHERTYPE_ARP => return arp(ctx, interface).map_err(bare),
        _ => return Err(bare(Reason::Unparsed)),
    };
    let packet = parsed.map_err(|problem| (problem, 0))?;
    let refused =
        |reason| Err((Problem { reason, destination: packet.destination, protocol: packet.protocol }, packet.port));
    if let Some(reason) = packet.refusal() {
        return refused(reason);
    }
    if !is_own(interface, packet.source) && !packet.is_address_detection() {
        return refused(Reason::ForeignSource);
    }
    Ok(())
}

/// An ARP packet may speak for the pod's own addresses, or for none (a probe, RFC 5227 section 2.1.1).
#[inline(always)]
fn arp(ctx: &TcContext, interface: u32) -> Result<(), Reason> {
    let Ok(arp) = ctx.skb.load::<[u8; 28]>(ETHERNET_HEADER) else {
        return Err(Reason::Unparsed);
    };
    if [arp[0], arp[1], arp[2], arp[3], arp[4], arp[5]] != ARP_OF_IPV4 {
        return Err(Reason::Unparsed);
    }
    let sender = [arp[14], arp[15], arp[16], arp[17]];
    if sender == [0; 4] || is_own(interface, Address::from_ipv4(sender)) { Ok(()) } else { Err(Reason::ForeignSource) }
}

#[inline(always)]
fn is_own(interface: u32, address: Address) -> bool {
    VETH_ADDRESSES.get_ptr(&VethAddressKey { interface, address }).is_some()
}
