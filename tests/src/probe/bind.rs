//! Getting at the port that the guard listens on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use clap::ValueEnum;
use socket2::{Domain, Protocol, Socket, Type};

use super::uring;

/// Which address the port is asked for at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum At {
    /// 127.0.0.1
    Loopback4,
    /// `::1`
    Loopback6,
    /// `::ffff:127.0.0.1`
    Mapped,
    /// 0.0.0.0
    Any4,
    /// `::`, for IPv6 alone
    Any6,
    /// `::`, for both families
    Both,
    /// 127.0.0.2
    OtherLoopback,
}

/// What is done to the socket first, or instead of `bind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum How {
    /// `bind`.
    Plain,
    /// With `SO_REUSEADDR`.
    ReuseAddress,
    /// With `SO_REUSEPORT`.
    ReusePort,
    /// With `IP_TRANSPARENT` and `IP_FREEBIND`.
    Transparent,
    /// As a socket of Multipath TCP.
    Multipath,
    /// By `IORING_OP_BIND` and `IORING_OP_LISTEN`.
    IoUring,
}

/// How a socket comes to listen at a port that the kernel chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Unbound {
    /// `listen`.
    Listen,
    /// `IORING_OP_LISTEN`.
    IoUring,
    /// `bind` to port 0, then `listen`.
    BindToZero,
}

/// Binds and listens.
pub(super) fn listen(port: u16, at: At, how: How, limit: Duration) -> io::Result<String> {
    let address: IpAddr = match at {
        At::Loopback4 => Ipv4Addr::LOCALHOST.into(),
        At::OtherLoopback => Ipv4Addr::new(127, 0, 0, 2).into(),
        At::Any4 => Ipv4Addr::UNSPECIFIED.into(),
        At::Loopback6 => Ipv6Addr::LOCALHOST.into(),
        At::Mapped => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        At::Any6 | At::Both => Ipv6Addr::UNSPECIFIED.into(),
    };
    let address = SocketAddr::new(address, port);
    let protocol = if how == How::Multipath { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(at == At::Loopback6 || at == At::Any6)?;
    }
    match how {
        How::ReuseAddress => socket.set_reuse_address(true)?,
        How::ReusePort => socket.set_reuse_port(true)?,
        How::Transparent => {
            super::option::set(socket.as_fd(), libc::SOL_IP, libc::IP_FREEBIND, 1)?;
            super::option::set(socket.as_fd(), libc::SOL_IP, libc::IP_TRANSPARENT, 1)?;
        }
        How::Plain | How::Multipath | How::IoUring => {}
    }
    if how == How::IoUring {
        uring::bind(&socket, address, limit)?;
        uring::listen(&socket, 1, limit)?;
    } else {
        socket.bind(&address.into())?;
        socket.listen(1)?;
    }
    Ok(local(&socket)?.to_string())
}

/// `listen` without `bind` to a port, `times` times over, all sockets held: the kernel chooses the ports. Returns them.
pub(super) fn listen_unbound(times: u32, how: Unbound, limit: Duration) -> io::Result<Vec<u16>> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for turn in 0..times {
        let any: IpAddr = if turn % 2 == 0 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let any = SocketAddr::new(any, 0);
        let socket = Socket::new(Domain::for_address(any), Type::STREAM, None)?;
        let listening = match how {
            Unbound::Listen => socket.listen(1),
            Unbound::IoUring => uring::listen(&socket, 1, limit),
            Unbound::BindToZero => socket.bind(&any.into()).and_then(|()| socket.listen(1)),
        };
        match listening {
            Ok(()) => ports.push(local(&socket)?.port()),
            // No port is left to choose from.
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => break,
            Err(error) => return Err(error),
        }
        held.push(socket);
    }
    Ok(ports)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("an internet socket has an internet address"))
}
