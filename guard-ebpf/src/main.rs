//! The kernel programs, one file per hook.
//!
//! They are attached to each agent pod's own cgroup and to the host side of its veth; an ordinary pod runs none of them.
//! They load, attach and refuse on 5.10 (seen there: ring buffers, `getpeername` and `bpf_ktime_get_boot_ns` are of 5.8, all else
//! is older). The guard's minimum is 5.15 for user space's sake: `SO_NETNS_COOKIE` (5.14). tcx needs 6.6; before that the veth
//! program is attached by clsact.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bind4;
mod bind6;
mod connect4;
mod connect6;
mod control_plane;
mod getpeername4;
mod getpeername6;
mod maps;
mod packet;
mod refuse;
mod sendmsg4;
mod sendmsg6;
mod skb_egress;
mod sock_addr;
mod veth_ingress;
mod workload;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_get_netns_cookie` and others are GPL-only helpers; the programs are Apache-2.0 in user space's tree and offered
/// under the GPL to the kernel, as its license check asks.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
