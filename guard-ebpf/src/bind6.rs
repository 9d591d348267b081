//! `cgroup/bind6`: keeps a workload off its listener's port, whatever the address. Kernel 4.17.
//!
//! A `listen` without `bind` runs no such hook: that the port is in `ip_local_reserved_ports` keeps it away.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use guard_common::{Hook, PROTOCOL_TCP, Reason};

use crate::sock_addr::{Call, PROCEED};

#[cgroup_sock_addr(bind6)]
pub fn guard_bind6(ctx: SockAddrContext) -> i32 {
    let call = Call::ipv6(&ctx, Hook::Bind6);
    match call.netns() {
        Some(netns) if netns.port != 0 && netns.port == call.port() && call.protocol() == PROTOCOL_TCP => {
            call.refuse(Reason::ListenerPort)
        }
        _ => PROCEED,
    }
}
