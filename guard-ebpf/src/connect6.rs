//! `cgroup/connect6`: as connect4, for sockets of IPv6, those that connect to `::ffff:a.b.c.d` included. Kernel 4.17.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use guard_common::{Address, Hook, Reason};

use crate::sock_addr::{Call, PROCEED, Route, to_user_port};

const LOOPBACK: Address = Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

#[cgroup_sock_addr(connect6)]
pub fn guard_connect6(ctx: SockAddrContext) -> i32 {
    let call = Call::ipv6(&ctx, Hook::Connect6);
    match call.route() {
        Route::Proceed => PROCEED,
        Route::Refuse(reason) => call.refuse(reason),
        Route::Listener(netns) => {
            // A socket that asks for a mapped address speaks IPv4, and may be bound to a mapped address: it stays with IPv4.
            let mapped = call.destination.is_ipv4();
            if (!mapped && netns.ipv6 == 0) || !call.remember(&netns) {
                return call.refuse(Reason::NoListener);
            }
            call.set_ipv6(if mapped { Address::from_ipv4([127, 0, 0, 1]) } else { LOOPBACK });
            call.set_port(to_user_port(netns.port));
            PROCEED
        }
    }
}
