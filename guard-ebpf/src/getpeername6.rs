//! `cgroup/getpeername6`: shows the client the address that it asked for. Kernel 5.8.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use guard_common::Hook;

use crate::sock_addr::{Call, PROCEED};

#[cgroup_sock_addr(getpeername6)]
pub fn guard_getpeername6(ctx: SockAddrContext) -> i32 {
    let call = Call::ipv6(&ctx, Hook::Connect6);
    if let Some(meant_for) = call.meant_for() {
        call.set_ipv6(meant_for.address);
        call.set_port(meant_for.port);
    }
    PROCEED
}
