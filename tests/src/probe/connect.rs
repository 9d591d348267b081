//! TCP by way of the kernel's own stack: every kind of connect.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use clap::ValueEnum;
use rustix::net::SendFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::interface::Interface;
use super::patience::{self, patient};
use super::tls::Stream;
use super::uring;

/// How the socket gets its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// `connect`.
    Plain,
    /// `bind` to any address and port 0, then `connect`.
    Bound,
    /// `bind` to the pod's own address, then `connect`.
    BoundHere,
    /// `sendto` with `MSG_FASTOPEN`: no `connect` is called.
    FastOpen,
    /// `TCP_FASTOPEN_CONNECT`: `connect` does nothing, the first write connects.
    FastOpenConnect,
    /// Multipath TCP.
    Multipath,
    /// `IORING_OP_CONNECT`.
    IoUring,
    /// `connect` twice: to a UDP-like disconnect (`AF_UNSPEC`) and then again.
    Again,
    /// `connect` in a network namespace that the process made.
    FreshNetns,
}

/// Connects to `to`. Every call on the stream is bounded by `limit`.
pub(super) fn open(to: SocketAddr, way: Way, limit: Duration) -> io::Result<Box<dyn Stream>> {
    if way == Way::FreshNetns {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    }
    let protocol = if way == Way::Multipath { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(protocol))?;
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    match way {
        Way::Bound => socket.bind(&SocketAddr::new(any(to), 0).into())?,
        Way::BoundHere => socket.bind(&SocketAddr::new(Interface::of_pod()?.address_towards(to.ip())?, 0).into())?,
        _ => {}
    }
    match way {
        Way::FastOpen => return Ok(Box::new(FastOpen { socket, to: Some(to) })),
        Way::IoUring => uring::connect(&socket, to, limit)?,
        Way::FastOpenConnect => {
            rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
            super::option::set(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)?;
            patience::connect(&socket, to)?;
        }
        Way::Again => {
            // Nobody listens there: the refusal leaves a socket that may be connected again.
            let nobody =
                SocketAddr::new(if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }, 1);
            let _ = patience::connect(&socket, nobody);
            patience::connect(&socket, to)?;
        }
        Way::Plain | Way::Bound | Way::BoundHere | Way::Multipath | Way::FreshNetns => {
            patience::connect(&socket, to)?;
        }
    }
    Ok(Box::new(TcpStream::from(socket)))
}

/// What the kernel says that the peer of a fresh connection is.
pub(super) fn peer_name(to: SocketAddr, limit: Duration) -> io::Result<SocketAddr> {
    TcpStream::connect_timeout(&to, limit)?.peer_addr()
}

fn any(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// The first write connects.
struct FastOpen {
    socket: Socket,
    to: Option<SocketAddr>,
}

impl Write for FastOpen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(to) = self.to.take() else {
            return patient(|| self.socket.send(bytes));
        };
        let flags = SendFlags::from_bits_retain(u32::try_from(libc::MSG_FASTOPEN).expect("a single bit"));
        Ok(rustix::net::sendto(self.socket.as_fd(), bytes, flags, &to)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for FastOpen {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        patient(|| self.socket.read(into))
    }
}
