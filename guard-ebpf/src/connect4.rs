//! `cgroup/connect4`: sends TCP for the API server to the workload's listener, refuses the rest of the control-plane set.
//!
//! Runs before every TCP connect (also that of TCP Fast Open, io_uring and Multipath TCP, since it sits in the protocol's
//! `pre_connect`) and before a connect of UDP. Kernel 4.17.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use guard_common::{Hook, Reason};

use crate::sock_addr::{Call, PROCEED, Route, to_user_port};

#[cgroup_sock_addr(connect4)]
pub fn guard_connect4(ctx: SockAddrContext) -> i32 {
    let call = Call::ipv4(&ctx, Hook::Connect4);
    match call.route() {
        Route::Proceed => PROCEED,
        Route::Refuse(reason) => call.refuse(reason),
        Route::Listener(netns) if !call.remember(&netns) => call.refuse(Reason::NoListener),
        Route::Listener(netns) => {
            call.set_ipv4([127, 0, 0, 1]);
            call.set_port(to_user_port(netns.port));
            PROCEED
        }
    }
}
