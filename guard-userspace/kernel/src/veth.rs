//! A veth pair from this network namespace into another: made, given addresses and routes, ready for use.
//!
//! `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`, `linux/veth.h`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType};

use crate::Error;
use crate::netlink::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, Request, Socket};
use crate::netns::Netns;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
/// `linux/if_link.h`.
const IN6_ADDR_GEN_MODE_NONE: &str = "1";
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTM_F_FIB_MATCH: u32 = 0x2000;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFINFOMSG: usize = 16;
/// Of the loopback in every namespace.
const LOOPBACK: u32 = 1;
/// The name of the inner end.
const INNER_NAME: &str = "eth0";

/// An address on each end, in one subnet of this prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet<A> {
    /// Of the end in this namespace: the other's way out.
    pub outer: A,
    /// Of the end in the other namespace.
    pub inner: A,
    /// Bits.
    pub prefix: u8,
}

/// A pair to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The name of the end in this namespace, at most 15 bytes.
    pub name: String,
    /// IPv4 on it.
    pub v4: Subnet<Ipv4Addr>,
    /// IPv6 on it, where there is any.
    pub v6: Option<Subnet<Ipv6Addr>>,
}

impl Plan {
    /// The addresses of the inner end.
    pub fn inner(&self) -> Vec<IpAddr> {
        std::iter::once(self.v4.inner.into()).chain(self.v6.map(|v6| v6.inner.into())).collect()
    }

    /// Makes the pair between `outer` and `inner`, where the loopback and a default route come up as well; the index of the outer end. It
    /// is gone with the namespace `inner`.
    pub fn make(&self, outer: &Netns, inner: &Netns) -> Result<u32, Error> {
        let failed = |error| {
            let hint = "it needs CAP_NET_ADMIN and the kernel's veth driver (`modprobe veth`)";
            Error::syscall("rtnetlink", format!("making the veth pair {}", self.name), hint, error)
        };
        let index = outer.run(|| self.make_outer(inner))?.map_err(failed)?;
        inner.run(|| self.make_inner())?.map_err(failed)?;
        Ok(index)
    }

    fn make_outer(&self, inner: &Netns) -> io::Result<u32> {
        let mut socket = Socket::open(None)?;
        let namespace = inner.as_fd().as_raw_fd().to_ne_bytes();
        let create = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK)
            .fixed(&[0; IFINFOMSG])
            .text(IFLA_IFNAME, &self.name)
            .nest(IFLA_LINKINFO, |info| {
                info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                    data.nest(VETH_INFO_PEER, |peer| {
                        peer.fixed(&[0; IFINFOMSG]).text(IFLA_IFNAME, INNER_NAME).attribute(IFLA_NET_NS_FD, &namespace)
                    })
                })
            });
        socket.ask(create)?;
        let index = index_of(&self.name)?;
        without_link_local(&self.name)?;
        let v6 = self.v6.map(|v6| (v6.outer, v6.prefix));
        address_and_up(&mut socket, index, (self.v4.outer, self.v4.prefix), v6)?;
        Ok(index)
    }

    fn make_inner(&self) -> io::Result<()> {
        let mut socket = Socket::open(None)?;
        socket.ask(up(LOOPBACK))?;
        let index = index_of(INNER_NAME)?;
        without_link_local(INNER_NAME)?;
        let v6 = self.v6.map(|v6| (v6.inner, v6.prefix));
        address_and_up(&mut socket, index, (self.v4.inner, self.v4.prefix), v6)?;
        socket.ask(default_route(AF_INET, index, &self.v4.outer.octets()))?;
        if let Some(v6) = self.v6 {
            socket.ask(default_route(AF_INET6, index, &v6.outer.octets()))?;
        }
        Ok(())
    }
}

/// Removes the pair by the name of the end that is in `netns`. The kernel does that by itself when the other end's namespace ends, but some time later.
/// One that is gone is no error.
pub fn remove(netns: &Netns, name: &str) -> Result<(), Error> {
    let remove = || -> io::Result<()> {
        let request = Request::new(RTM_DELLINK, NLM_F_ACK).fixed(&[0; IFINFOMSG]).text(IFLA_IFNAME, name);
        match Socket::open(None)?.ask(request) {
            Err(error) if error.raw_os_error() != Some(nix::libc::ENODEV) => Err(error),
            _ => Ok(()),
        }
    };
    netns
        .run(remove)?
        .map_err(|error| Error::syscall("RTM_DELLINK", format!("removing the interface {name}"), "", error))
}

/// Raises the loopback of a namespace that has nothing else.
pub fn raise_loopback(netns: &Netns) -> Result<(), Error> {
    let raised = netns.run(|| Socket::open(None)?.ask(up(LOOPBACK)).map(|_| ()))?;
    raised.map_err(|error| Error::syscall("rtnetlink", "raising the loopback", "", error))
}

/// Whether the machine knows a way to this address that is more than its default route: then it is somebody's.
pub fn is_routed(host: &Netns, address: Ipv4Addr) -> Result<bool, Error> {
    let look = || -> io::Result<bool> {
        let mut header = [0; 12];
        header[0] = AF_INET;
        header[1] = 32;
        header[8..12].copy_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
        let request = Request::new(RTM_GETROUTE, 0).fixed(&header).attribute(RTA_DST, &address.octets());
        match Socket::open(None)?.ask(request) {
            Ok(answer) => Ok(answer.and_then(|route| route.payload.get(1).copied()).is_some_and(|length| length > 0)),
            // No route at all.
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENETUNREACH | nix::libc::ENOENT)) => Ok(false),
            Err(error) => Err(error),
        }
    };
    host.run(look)?
        .map_err(|error| Error::syscall("RTM_GETROUTE", format!("looking for a route to {address}"), "", error))
}

/// A link-local address would have to be waited for, and is not needed.
fn without_link_local(name: &str) -> io::Result<()> {
    match std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), IN6_ADDR_GEN_MODE_NONE) {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn index_of(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    Ok(name_to_index(socket, name)?)
}

fn address_and_up(
    socket: &mut Socket,
    index: u32,
    (v4, prefix): (Ipv4Addr, u8),
    v6: Option<(Ipv6Addr, u8)>,
) -> io::Result<()> {
    socket.ask(new_address(AF_INET, index, prefix, &v4.octets()))?;
    if let Some((v6, prefix)) = v6 {
        socket.ask(new_address(AF_INET6, index, prefix, &v6.octets()))?;
    }
    socket.ask(up(index))?;
    Ok(())
}

fn new_address(family: u8, index: u32, prefix: u8, octets: &[u8]) -> Request {
    let mut header = [family, prefix, 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    Request::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK)
        .fixed(&header)
        .attribute(IFA_LOCAL, octets)
        .attribute(IFA_ADDRESS, octets)
        .attribute(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes())
}

fn up(index: u32) -> Request {
    let mut header = [0; IFINFOMSG];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
    header[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    Request::new(RTM_NEWLINK, NLM_F_ACK).fixed(&header)
}

fn default_route(family: u8, index: u32, gateway: &[u8]) -> Request {
    let header = [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST, 0, 0, 0, 0];
    Request::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK)
        .fixed(&header)
        .attribute(RTA_GATEWAY, gateway)
        .attribute(RTA_OIF, &index.to_ne_bytes())
}
