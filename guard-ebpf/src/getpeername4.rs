//! `cgroup/getpeername4`: shows the client the address that it asked for. Kernel 5.8.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use guard_common::Hook;

use crate::sock_addr::{Call, PROCEED};

#[cgroup_sock_addr(getpeername4)]
pub fn guard_getpeername4(ctx: SockAddrContext) -> i32 {
    let call = Call::ipv4(&ctx, Hook::Connect4);
    if let Some(meant_for) = call.meant_for() {
        let b = meant_for.address.0;
        call.set_ipv4([b[12], b[13], b[14], b[15]]);
        call.set_port(meant_for.port);
    }
    PROCEED
}
