//! The guard's listener inside a pod's network namespace.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use rand::Rng;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::Error;
use crate::netns::Netns;
use ports::Ports;

mod ports;

/// Below the folder of [`Sysctls`].
const RESERVED_PORTS: &str = "ipv4/ip_local_reserved_ports";
/// Absent in a kernel without IPv6.
const LOOPBACK_IPV6: &str = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
/// Away from well-known ports and from the top of the usual ephemeral range (60999), where other tools like to sit.
const PORT_RANGE: std::ops::RangeInclusive<u16> = 20_000..=60_000;
const ATTEMPTS: usize = 64;
const BACKLOG: i32 = 4096;

/// Where the network's settings can be written: `/proc/sys/net`, or that of the node under another name, since a container has its own
/// read-only. Whatever the name, the files are those of the namespace of the thread that opens them.
#[derive(Clone, Debug)]
pub struct Sysctls(PathBuf);

impl Default for Sysctls {
    fn default() -> Self {
        Self::at("/proc/sys/net")
    }
}

impl Sysctls {
    /// In this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }
}

/// One port of a namespace's loopback, held in both address families.
#[derive(Debug)]
pub struct Listeners {
    /// The port of both.
    pub port: u16,
    /// On 127.0.0.1, nonblocking.
    pub v4: TcpListener,
    /// On `::1`, nonblocking; absent where the namespace has no IPv6.
    pub v6: Option<TcpListener>,
}

/// Opens the guard's listener at a random free port of the namespace's loopback.
///
/// The port is first taken out of automatic assignment (`ip_local_reserved_ports`): a `listen` or `connect` without
/// `bind` runs no bind hook. Neither `SO_REUSEADDR` nor `SO_REUSEPORT` is set, so that nobody can share the port.
pub fn open(netns: &Netns, sysctls: &Sysctls) -> Result<Listeners, Error> {
    netns.run(|| open_here(netns.origin(), sysctls))?
}

/// Gives a port back to automatic assignment, once nothing listens there for the guard.
pub fn release_port(netns: &Netns, sysctls: &Sysctls, port: u16) -> Result<(), Error> {
    netns.run(|| change_reserved(netns.origin(), sysctls, |ports| ports.remove(port)))?
}

fn open_here(origin: &str, sysctls: &Sysctls) -> Result<Listeners, Error> {
    for _ in 0..ATTEMPTS {
        let port = rand::rng().random_range(PORT_RANGE);
        let mut is_new = false;
        change_reserved(origin, sysctls, |ports| {
            is_new = !ports.contains(port);
            ports.insert(port);
        })?;
        if !is_new {
            // Somebody else's reservation, which releasing the port later would undo.
            continue;
        }
        match bind_both(port) {
            Ok(listeners) => return Ok(listeners),
            Err(error) => {
                change_reserved(origin, sysctls, |ports| ports.remove(port))?;
                if error.kind() != io::ErrorKind::AddrInUse {
                    let doing = format!("listening at port {port} of the loopback of {origin}");
                    let hint = "the pod's loopback interface must be up: is its sandbox ready?";
                    return Err(Error::syscall("bind", doing, hint, error));
                }
            }
        }
    }
    let doing = format!("finding a free port in {origin} ({ATTEMPTS} tried)");
    Err(Error::syscall("bind", doing, "the pod holds most of its ports", Errno::ADDRINUSE))
}

fn bind_both(port: u16) -> io::Result<Listeners> {
    let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let v6 = match bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) {
        Ok(listener) => Some(listener),
        Err(error) if error == Errno::AFNOSUPPORT => None,
        // ::1 is no address for now; only where IPv6 is switched off will it stay so.
        Err(error) if error == Errno::ADDRNOTAVAIL && is_ipv6_off() => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Listeners { port, v4, v6 })
}

fn is_ipv6_off() -> bool {
    fs::read_to_string(LOOPBACK_IPV6).map_or(true, |disabled| disabled.trim() != "0")
}

/// The standard library's `bind` sets `SO_REUSEADDR`.
fn bind(address: SocketAddr) -> rustix::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn change_reserved(origin: &str, Sysctls(folder): &Sysctls, change: impl FnOnce(&mut Ports)) -> Result<(), Error> {
    let file = folder.join(RESERVED_PORTS);
    let failed = |call, error| {
        let hint = "is it read-only here? a container has its own /proc/sys so: mount the node's /proc/sys/net into it, and say where";
        Error::syscall(call, format!("changing {} of {origin}", file.display()), hint, error)
    };
    let before = fs::read_to_string(&file).map_err(|error| failed("read", error))?;
    let mut ports = Ports::parse(&before)
        .ok_or_else(|| failed("read", io::Error::new(io::ErrorKind::InvalidData, format!("unexpected {before:?}"))))?;
    change(&mut ports);
    let after = format!("{ports}\n");
    if after.trim() == before.trim() {
        return Ok(());
    }
    fs::write(&file, after).map_err(|error| failed("write", error))
}
