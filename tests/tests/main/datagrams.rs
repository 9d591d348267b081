//! K3: what isn't TCP goes nowhere in the control-plane set, and every try is counted.

use std::net::SocketAddr;

use guard_common::{Hook, Reason};
use guard_e2e::harness::Echo;

use crate::WORLD;
use crate::table::{
    Control::{Somebody, SomebodyIfSupported},
    Guarded::Eperm,
    Way, try_all,
};

#[test]
fn datagrams_to_the_api_server_are_refused_and_counted() {
    let control_plane = WORLD.control_plane();
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let _answering = [
        Echo::udp(&control_plane, at("172.30.0.10:6443")),
        Echo::udp(&control_plane, at("[fd00:30::10]:6443")),
        Echo::udp_lite(&control_plane, at("172.30.0.10:6443")),
    ];
    let refused = |hook| Eperm(hook, Reason::ControlPlane);
    let portless = Eperm(Hook::SkbEgress, Reason::Portless);
    let ways: &[Way<'_>] = &[
        ("datagram --to 172.30.0.10:6443 --way udp", Somebody, refused(Hook::Sendmsg4)),
        ("datagram --to [fd00:30::10]:6443 --way udp", Somebody, refused(Hook::Sendmsg6)),
        ("datagram --to 172.30.0.10:6443 --way udp-connected", Somebody, refused(Hook::Connect4)),
        ("datagram --to [fd00:30::10]:6443 --way udp-connected", Somebody, refused(Hook::Connect6)),
        ("datagram --to 172.30.0.10:6443 --way udp-connected-elsewhere", Somebody, refused(Hook::Sendmsg4)),
        ("datagram --to [fd00:30::10]:6443 --way udp-connected-elsewhere", Somebody, refused(Hook::Sendmsg6)),
        ("datagram --to 172.30.0.10:6443 --way quic", Somebody, refused(Hook::Sendmsg4)),
        ("datagram --to [::ffff:172.30.0.10]:6443 --way udp", Somebody, refused(Hook::Sendmsg4)),
        ("datagram --to 172.30.0.10:6443 --way udp-lite", Somebody, refused(Hook::Sendmsg4)),
        ("datagram --to 172.30.0.10:6443 --way sctp", SomebodyIfSupported, refused(Hook::Connect4)),
        ("datagram --to 172.30.0.10:6443 --way dccp", SomebodyIfSupported, refused(Hook::Connect4)),
        ("datagram --to 172.30.0.10:0 --way ping", Somebody, portless),
        ("datagram --to [fd00:30::10]:0 --way ping", Somebody, portless),
        ("datagram --to 172.30.0.10:0 --way ping-socket", Somebody, portless),
    ];
    try_all(&WORLD.ring.enter(), ways);
}
