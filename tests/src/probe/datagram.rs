//! What isn't TCP: UDP in its forms, SCTP, DCCP, ICMP. An answer from the other end means that it got there.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use socket2::{Domain, Protocol, Socket, Type};

use super::interface::Interface;
use super::patience;

/// Which protocol, and whether `connect` comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// `sendto` on a UDP socket that is not connected.
    Udp,
    /// `connect`, then `send`.
    UdpConnected,
    /// A socket connected to somebody else, then `sendto` elsewhere.
    UdpConnectedElsewhere,
    /// What a QUIC client sends first: a long header in 1200 bytes (RFC 9000 section 14.1), by `sendmsg`.
    Quic,
    /// UDP-Lite.
    UdpLite,
    /// SCTP.
    Sctp,
    /// DCCP.
    Dccp,
    /// ICMP echo by a raw socket.
    Ping,
    /// ICMP echo by a datagram socket.
    PingSocket,
}

/// Sends, and returns what came back.
pub(super) fn ask(to: SocketAddr, way: Way, limit: Duration) -> io::Result<String> {
    let socket = open(to, way)?;
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    let question = question(way, to);
    match way {
        Way::Udp | Way::Quic | Way::UdpLite => {
            socket.send_to(&question, &to.into())?;
        }
        Way::UdpConnected | Way::Sctp | Way::Dccp => {
            patience::connect(&socket, to)?;
            socket.send(&question)?;
        }
        Way::UdpConnectedElsewhere => {
            let elsewhere = Interface::of_pod()?.gateway_towards(to.ip())?;
            patience::connect(&socket, SocketAddr::new(elsewhere, 9))?;
            socket.send_to(&question, &to.into())?;
        }
        Way::Ping | Way::PingSocket => {
            // A port means nothing to a raw socket of IPv4, and must be 0 on one of IPv6.
            socket.send_to(&question, &SocketAddr::new(to.ip(), 0).into())?;
        }
    }
    if way == Way::UdpConnectedElsewhere {
        // What is connected elsewhere hears nobody else: that the datagram was let go is all that can be known.
        return Ok("sent".to_owned());
    }
    answer(&socket, to, limit)
}

/// Sends as often as asked, and returns how often that was refused with EPERM.
pub(super) fn flood(to: SocketAddr, times: u32) -> io::Result<u32> {
    let socket = open(to, Way::Udp)?;
    let mut refused = 0;
    for _ in 0..times {
        match socket.send_to(b"flood", &to.into()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused += 1,
            sent => drop(sent?),
        }
    }
    Ok(refused)
}

fn open(to: SocketAddr, way: Way) -> io::Result<Socket> {
    let echo = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let (kind, protocol) = match way {
        Way::Udp | Way::UdpConnected | Way::UdpConnectedElsewhere | Way::Quic => (Type::DGRAM, Protocol::UDP),
        Way::UdpLite => (Type::DGRAM, Protocol::from(libc::IPPROTO_UDPLITE)),
        Way::Sctp => (Type::STREAM, Protocol::from(libc::IPPROTO_SCTP)),
        Way::Dccp => (Type::from(libc::SOCK_DCCP), Protocol::from(libc::IPPROTO_DCCP)),
        Way::Ping => (Type::RAW, echo),
        Way::PingSocket => (Type::DGRAM, echo),
    };
    Socket::new(Domain::for_address(to), kind, Some(protocol))
}

fn question(way: Way, to: SocketAddr) -> Vec<u8> {
    match way {
        Way::Quic => {
            let mut datagram = vec![0; 1200];
            // Initial packet, version 1 (RFC 9000 section 17.2.2).
            datagram[..5].copy_from_slice(&[0xc0, 0, 0, 0, 1]);
            datagram
        }
        Way::Ping | Way::PingSocket if to.is_ipv4() => {
            let mut echo = vec![8, 0, 0, 0, 0x70, 0x62, 0, 1];
            let sum = !super::dressing::sum(&echo);
            echo[2..4].copy_from_slice(&sum.to_be_bytes());
            echo
        }
        // The kernel fills in the checksum of ICMPv6 (RFC 3542 section 3.1).
        Way::Ping | Way::PingSocket => vec![128, 0, 0, 0, 0x70, 0x62, 0, 1],
        _ => b"egress-guard probe".to_vec(),
    }
}

/// A raw socket hears all ICMP of the pod, so what isn't from the peer is passed over.
fn answer(socket: &Socket, to: SocketAddr, limit: Duration) -> io::Result<String> {
    let until = std::time::Instant::now() + limit;
    loop {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) if from.as_socket().is_none_or(|from| from.ip() == to.ip()) => {
                return Ok(format!("{length} bytes"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if std::time::Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}
