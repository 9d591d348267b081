//! `cgroup_skb/egress`: drops packets to the control-plane set from sockets that are older than enforcement, and from raw
//! sockets. Kernel 4.10; `bpf_skb_ancestor_cgroup_id` in it 4.19.

use aya_ebpf::{helpers::generated::bpf_skb_ancestor_cgroup_id, macros::cgroup_skb, programs::SkBuffContext};
use guard_common::Hook;

use crate::{
    packet::Packet,
    refuse::{Refused, refuse},
    workload::among_ancestors,
};

const DROP: i32 = 0;
const PASS: i32 = 1;

#[cgroup_skb(egress)]
pub fn guard_skb_egress(ctx: SkBuffContext) -> i32 {
    let Ok([version]) = ctx.skb.load::<[u8; 1]>(0) else {
        return PASS;
    };
    // The packet is seen from its network header on. What can't be parsed goes on to the veth, which drops it.
    let parsed = match version >> 4 {
        4 => Packet::ipv4(&ctx.skb, 0),
        6 => Packet::ipv6(&ctx.skb, 0),
        _ => return PASS,
    };
    let Ok(packet) = parsed else {
        return PASS;
    };
    let Some(reason) = packet.refusal() else {
        return PASS;
    };
    let refused = Refused {
        workload: workload(&ctx),
        hook: Hook::SkbEgress,
        reason,
        destination: packet.destination,
        port: packet.port,
        protocol: packet.protocol,
    };
    refuse(&ctx, &refused);
    DROP
}

/// The workload in whose cgroup the packet's socket was made.
#[inline(always)]
fn workload(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the context is valid; the helper returns 0 for a level that isn't there.
    among_ancestors(|level| unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, level) })
}
