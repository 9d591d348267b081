//! K4's `WireGuard`: a device in the pod sends by a socket of the kernel's own, which no hook of the pod's cgroup serves.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use guard_common::{Hook, Reason};

use crate::genetlink::{Family, attribute, nest};
use crate::guarded::{API_PORT, Guarded, OTHER_PORT, SERVER};
use crate::lab::{eventually, heard};

/// What is printed is looked for on the kernels of the matrix, which all have `WireGuard` (`cargo xtask kernels`).
#[test]
fn a_wireguard_device_of_the_pod_ends_at_its_veth() {
    let guarded = Guarded::new("wireguard");
    let pod = &guarded.lab.pod;
    let added =
        Command::new("ip").args(["-n", pod.name(), "link", "add", "wg0", "type", "wireguard"]).output().unwrap();
    if !added.status.success() {
        let error = String::from_utf8_lossy(&added.stderr);
        assert!(error.contains("Unknown device type") || error.contains("not supported"), "{error}");
        println!("this kernel: no WireGuard, and so no pod with such a device");
        return;
    }
    pod.ip("addr add 10.88.0.1/24 dev wg0");
    pod.ip("link set wg0 up");
    let inner = pod.udp("10.88.0.1:0");
    let [api, other] = [API_PORT, OTHER_PORT].map(|port| guarded.lab.server.udp(&format!("10.9.1.2:{port}")));
    let refusal = (Hook::VethIngress, Reason::ControlPlane);

    configure(&guarded, OTHER_PORT);
    inner.send_to(b"x", "10.88.0.2:1").unwrap();
    let handshake = eventually("a handshake with whom the set does not name", || heard(&other));
    assert_eq!(handshake[..4], [1, 0, 0, 0], "a handshake initiation");
    assert_eq!(guarded.refused().get(&refusal), None);

    configure(&guarded, API_PORT);
    inner.send_to(b"x", "10.88.0.2:1").unwrap();
    eventually("a handshake that is refused", || (guarded.refused().get(&refusal) > None).then_some(()));
    assert_eq!(heard(&api), None);
    println!("this kernel: a WireGuard device of the pod ends at its veth");
}

/// A key, and one peer on the server for all of the device's network, in place of what was there. Numbers of `linux/wireguard.h`.
fn configure(guarded: &Guarded, port: u16) {
    const SET_DEVICE: (u8, u8) = (1, 1);
    let number = |kind, value: u32| attribute(kind, &value.to_ne_bytes());
    let endpoint = SocketAddrV4::new(SERVER, port);
    let family = u16::try_from(libc::AF_INET).unwrap();
    let socket_address =
        [&family.to_ne_bytes()[..], &endpoint.port().to_be_bytes(), &endpoint.ip().octets(), &[0; 8]].concat();
    let allowed =
        [attribute(1, &family.to_ne_bytes()), attribute(2, &Ipv4Addr::new(10, 88, 0, 0).octets()), attribute(3, &[24])];
    // Another peer each time: with one that it knows the device waits before it tries again.
    let mut key = [9; 32];
    key[0] = port.to_be_bytes()[1];
    let peer = [attribute(1, &key), attribute(4, &socket_address), nest(9, &[nest(0, &allowed)])];
    // WGDEVICE_F_REPLACE_PEERS
    let device = [attribute(2, b"wg0\0"), number(5, 1), attribute(3, &[7; 32]), nest(8, &[nest(0, &peer)])];
    let set = || Family::open("wireguard").unwrap().ask(SET_DEVICE, &device.concat());
    guarded.lab.pod.netns.run(set).unwrap();
}
