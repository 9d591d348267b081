//! The guard's port in a pod.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use guard_kernel::listener::{Sysctls, open, release_port};

use crate::lab::{Space, eventually};

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

fn reserved(space: &Space) -> String {
    space.netns.run(|| std::fs::read_to_string(RESERVED)).unwrap().unwrap().trim().to_owned()
}

#[test]
fn both_families_are_served_at_one_port() {
    let space = Space::new("pod");
    let listeners = open(&space.netns, &Sysctls::default()).unwrap();
    let v6 = listeners.v6.as_ref().unwrap();
    for (listener, address) in [(&listeners.v4, "127.0.0.1"), (v6, "::1")] {
        let address = SocketAddr::new(address.parse().unwrap(), listeners.port);
        assert_eq!(listener.local_addr().unwrap(), address);
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it does not block");
        let mut client = space.connect(address).unwrap();
        let (mut accepted, _) = eventually("a connection", || listener.accept().ok());
        accepted.write_all(b"hi").unwrap();
        client.read_exact(&mut [0; 2]).unwrap();
        let flags = rustix::io::fcntl_getfd(listener).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "descriptor {}", listener.as_raw_fd());
    }
}

#[test]
fn nobody_else_can_have_the_port() {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    let space = Space::new("pod");
    let listeners = open(&space.netns, &Sysctls::default()).unwrap();
    for address in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
        let address = SocketAddr::new(address.parse().unwrap(), listeners.port);
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let taken = space
            .netns
            .run(|| {
                let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
                sockopt::set_socket_reuseaddr(&socket, true).unwrap();
                sockopt::set_socket_reuseport(&socket, true).unwrap();
                rustix::net::bind(&socket, &address)
            })
            .unwrap();
        assert_eq!(taken.unwrap_err(), rustix::io::Errno::ADDRINUSE, "{address}");
    }
}

#[test]
fn the_port_is_reserved_beside_other_reservations_until_it_is_released() {
    let space = Space::new("pod");
    space.write(RESERVED, "8080,30000-30010\n");
    let (first, second) =
        (open(&space.netns, &Sysctls::default()).unwrap(), open(&space.netns, &Sysctls::default()).unwrap());
    assert_ne!(first.port, second.port);
    let mut ports = vec!["8080".to_owned(), "30000-30010".into(), first.port.to_string(), second.port.to_string()];
    ports.sort_by_key(|text| text.split('-').next().unwrap().parse::<u16>().unwrap());
    assert_eq!(reserved(&space), ports.join(","));
    drop(first.v4);
    drop(first.v6);
    release_port(&space.netns, &Sysctls::default(), first.port).unwrap();
    release_port(&space.netns, &Sysctls::default(), first.port).unwrap();
    ports.retain(|text| *text != first.port.to_string());
    assert_eq!(reserved(&space), ports.join(","));
}

#[test]
fn the_settings_are_the_pods_under_whatever_name_the_node_has_them() {
    let space = Space::new("pod");
    let listeners = open(&space.netns, &Sysctls::at("/proc/self/root/proc/sys/net")).unwrap();
    assert_eq!(reserved(&space), listeners.port.to_string());
    assert!(!std::fs::read_to_string(RESERVED).unwrap().contains(&listeners.port.to_string()));
}

#[test]
fn settings_that_can_not_be_written_are_an_error_that_says_what_to_mount() {
    let space = Space::new("pod");
    let error = open(&space.netns, &Sysctls::at("/nonexistent")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/ipv4/ip_local_reserved_ports") && error.contains("mount"), "{error}");
}

#[test]
fn a_namespace_without_ipv6_gets_ipv4_alone() {
    let space = Space::new("pod");
    space.write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    let listeners = open(&space.netns, &Sysctls::default()).unwrap();
    assert!(listeners.v6.is_none());
}

#[test]
fn a_namespace_whose_loopback_is_down_is_an_error_that_says_so() {
    let space = Space::new("pod");
    space.ip("link set lo down");
    let error = open(&space.netns, &Sysctls::default()).unwrap_err().to_string();
    assert!(error.contains("loopback interface must be up"), "{error}");
    assert_eq!(reserved(&space), "", "and nothing stays reserved");
}
