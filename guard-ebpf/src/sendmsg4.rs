//! `cgroup/sendmsg4`: refuses datagrams to the control-plane set; an unconnected UDP socket never meets connect. Kernel 4.18.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use guard_common::Hook;

use crate::sock_addr::Call;

#[cgroup_sock_addr(sendmsg4)]
pub fn guard_sendmsg4(ctx: SockAddrContext) -> i32 {
    Call::ipv4(&ctx, Hook::Sendmsg4).keep_out()
}
