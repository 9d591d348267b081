//! One UDP packet, made by hand and put on an interface of a network namespace: the gate's negative proof.
//!
//! It leaves the namespace the way an `AF_PACKET` socket's would, below every hook for sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::Error;
use crate::netns::Netns;

/// A hardware address.
pub type Mac = [u8; 6];

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const UDP_HEADER: u16 = 8;
const IPV4_HEADER: u16 = 20;
const HOP_LIMIT: u8 = 64;

/// Where a packet comes from and goes to; both ends of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// From, to.
    V4(Ipv4Addr, Ipv4Addr),
    /// From, to.
    V6(Ipv6Addr, Ipv6Addr),
}

/// An Ethernet frame that carries a UDP datagram, with correct checksums.
///
/// `None` where `payload` doesn't fit into one IP packet.
pub fn udp_frame(macs: (Mac, Mac), route: Route, ports: (u16, u16), payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(payload.len()).ok()?.checked_add(UDP_HEADER)?;
    let mut frame = Vec::with_capacity(usize::from(udp_length) + 54);
    frame.extend_from_slice(&macs.1);
    frame.extend_from_slice(&macs.0);
    let mut pseudo_header = Vec::with_capacity(40);
    match route {
        Route::V4(source, destination) => {
            frame.extend_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
            frame.extend_from_slice(&ipv4_header(source, destination, udp_length.checked_add(IPV4_HEADER)?));
            pseudo_header.extend_from_slice(&source.octets());
            pseudo_header.extend_from_slice(&destination.octets());
        }
        Route::V6(source, destination) => {
            frame.extend_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
            frame.extend_from_slice(&[0x60, 0, 0, 0]);
            frame.extend_from_slice(&udp_length.to_be_bytes());
            frame.extend_from_slice(&[UDP, HOP_LIMIT]);
            frame.extend_from_slice(&source.octets());
            frame.extend_from_slice(&destination.octets());
            pseudo_header.extend_from_slice(&source.octets());
            pseudo_header.extend_from_slice(&destination.octets());
        }
    }
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    for field in [ports.0, ports.1, udp_length, 0] {
        udp.extend_from_slice(&field.to_be_bytes());
    }
    udp.extend_from_slice(payload);
    // RFC 768 and RFC 8200 section 8.1: the sum covers addresses, protocol and length too; a sum of 0 is sent as 0xffff.
    pseudo_header.extend_from_slice(&[0, UDP]);
    pseudo_header.extend_from_slice(&udp_length.to_be_bytes());
    let sum = match checksum(&[&pseudo_header, &udp]) {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    frame.append(&mut udp);
    Some(frame)
}

fn ipv4_header(source: Ipv4Addr, destination: Ipv4Addr, total_length: u16) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total_length.to_be_bytes());
    header[8] = HOP_LIMIT;
    header[9] = UDP;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// The Internet checksum (RFC 1071) over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    // Two folds: a packet has fewer than 2^16 words, so the sum fits into 32 bits.
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    !u16::try_from(sum).expect("folded twice, the sum has 16 bits")
}

/// Sends `frame` as it is through an interface of the namespace.
pub fn inject(netns: &Netns, interface: u32, frame: &[u8]) -> Result<(), Error> {
    netns.run(|| send(interface, frame))?.map_err(|error| {
        let doing = format!("sending a packet through interface {interface} of {}", netns.origin());
        Error::syscall("sendto(AF_PACKET)", doing, "it needs CAP_NET_RAW, and the interface must be up", error)
    })
}

/// No crate in use has a safe wrapper of `sockaddr_ll`.
#[allow(unsafe_code)]
fn send(interface: u32, frame: &[u8]) -> io::Result<()> {
    // Protocol 0: this socket never receives.
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let address = nix::libc::sockaddr_ll {
        sll_family: u16::try_from(nix::libc::AF_PACKET).expect("an address family has 16 bits"),
        sll_protocol: 0,
        sll_ifindex: i32::try_from(interface).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = nix::libc::socklen_t::try_from(size_of_val(&address)).expect("an address is small");
    // SAFETY: the socket is open for the whole call; pointer and length of `frame` are those of one live slice; `address` is
    // a live, fully initialised sockaddr_ll and `length` is its size. The kernel only reads from both.
    let sent = unsafe {
        nix::libc::sendto(
            socket.as_fd().as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            length,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: (Mac, Mac) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

    /// RFC 1071: over data and its own checksum, the sum is zero.
    fn verifies(parts: &[&[u8]]) -> bool {
        checksum(parts) == 0
    }

    #[test]
    fn the_checksum_is_that_of_a_known_header() {
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
            0x00, 0xc7,
        ];
        assert_eq!(checksum(&[&header]), 0xb861);
        header[10..12].copy_from_slice(&0xb861_u16.to_be_bytes());
        assert!(verifies(&[&header]));
    }

    #[test]
    fn an_ipv4_frame_is_what_the_standards_say() {
        let route = Route::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        for payload in [&b""[..], b"odd", b"even"] {
            let frame = udp_frame(MACS, route, (1000, 2000), payload).unwrap();
            assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
            assert_eq!(frame.len(), 14 + 20 + 8 + payload.len());
            assert!(verifies(&[&frame[14..34]]));
            assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), frame.len() - 14);
            let udp = &frame[34..];
            assert_eq!(udp[..4], [0x03, 0xe8, 0x07, 0xd0]);
            assert!(verifies(&[&[10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, udp[5]], udp]));
        }
    }

    #[test]
    fn an_ipv6_frame_is_what_the_standards_say() {
        let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let frame = udp_frame(MACS, Route::V6(source, destination), (1, 443), b"odd").unwrap();
        assert_eq!(frame[12..14], [0x86, 0xdd]);
        assert_eq!(frame[14], 0x60);
        assert_eq!(frame[18..22], [0, 11, 17, 64]);
        let udp = &frame[54..];
        assert!(verifies(&[&source.octets(), &destination.octets(), &[0, 17, 0, 11], udp]));
    }

    #[test]
    fn a_payload_too_long_for_a_packet_is_refused() {
        let route = Route::V4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        assert!(udp_frame(MACS, route, (1, 2), &vec![0; 65_507]).is_some());
        assert!(udp_frame(MACS, route, (1, 2), &vec![0; 65_508]).is_none());
        assert!(udp_frame(MACS, route, (1, 2), &vec![0; 65_536]).is_none());
    }
}
