//! The network interfaces of a namespace, and where the other end of a pod's veth pair is.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketType};

use crate::Error;
use crate::netlink::{Message, NLM_F_DUMP, Request, Socket, attribute, number, text};
use crate::netns::Netns;
use crate::packet::Mac;

// linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/net_namespace.h, linux/if.h
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_GETNSID: u16 = 90;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const IFF_UP: u32 = 0x1;
const ARPHRD_LOOPBACK: u16 = 772;
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const RTGENMSG: usize = 4;

/// What an interface is, as far as the guard tells them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Never leaves the namespace.
    Loopback,
    /// One end of a pair.
    Veth,
    /// Any other: the kernel's name for it (`macvlan`, `ipvlan`, `bridge`), or `device` for one without a driver's name,
    /// as hardware is.
    Other(String),
}

/// One interface of a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, changeable and unique in its namespace only.
    pub name: String,
    /// Its index, unique in its namespace only.
    pub index: u32,
    /// What it is.
    pub kind: Kind,
    /// The index of the interface that it is bound to (the other end of a veth pair) in *that* one's namespace.
    pub peer_index: Option<u32>,
    /// The id that this namespace has for the namespace of the peer, when it is another.
    pub peer_netns: Option<i32>,
    /// The hardware address; of Ethernet-like interfaces alone.
    pub mac: Option<Mac>,
    /// All its addresses of both families, link-local ones too.
    pub addresses: Vec<IpAddr>,
    /// Whether it is administratively up.
    pub up: bool,
}

/// A pod's veth, and its other end in the host's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSide {
    /// The end in the pod.
    pub pod: Interface,
    /// The index of the end on the host: what tcx is attached to.
    pub index: u32,
}

/// The interfaces of a namespace, by index.
pub fn list(netns: &Netns) -> Result<Vec<Interface>, Error> {
    ask(netns, "listing the interfaces", |socket| {
        let links = socket.dump(&Request::new(RTM_GETLINK, NLM_F_DUMP).fixed(&[0; IFINFOMSG]))?;
        let mut interfaces: Vec<_> = links.iter().filter_map(interface).collect();
        let mut addresses: HashMap<u32, Vec<IpAddr>> = HashMap::new();
        for message in socket.dump(&Request::new(RTM_GETADDR, NLM_F_DUMP).fixed(&[0; IFADDRMSG]))? {
            if let Some((index, address)) = address(&message) {
                addresses.entry(index).or_default().push(address);
            }
        }
        for interface in &mut interfaces {
            interface.addresses = addresses.remove(&interface.index).unwrap_or_default();
        }
        interfaces.sort_by_key(|interface| interface.index);
        Ok(interfaces)
    })
}

/// What an interface of the calling thread's network namespace is called now; `None` when it is gone.
pub(crate) fn name(index: u32) -> Result<Option<String>, Error> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None);
    match socket.and_then(|socket| index_to_name(socket, index)) {
        Ok(name) => Ok(Some(name)),
        Err(Errno::NODEV) => Ok(None),
        Err(error) => Err(Error::syscall("SIOCGIFNAME", format!("looking for the interface {index}"), "", error)),
    }
}

/// Every way out of a pod, each with its verified end on the host.
///
/// An interface without a veth end on the host is an error: packets could leave the pod unseen. Left out are the
/// loopback and the tunnel devices that the kernel itself puts, down, into every new namespace.
pub fn host_sides(pod: &Netns, host: &Netns) -> Result<Vec<HostSide>, Error> {
    let mut sides = Vec::new();
    for interface in list(pod)? {
        if interface.kind == Kind::Loopback || is_idle_fallback_tunnel(&interface) {
            continue;
        }
        let index = host_side(pod, &interface, host)?;
        sides.push(HostSide { pod: interface, index });
    }
    Ok(sides)
}

/// The index, in the host's namespace, of the other end of the pod's `interface`.
///
/// Verified from both ends: the host's interface must be a veth that points back at this index in this very namespace.
pub fn host_side(pod: &Netns, interface: &Interface, host: &Netns) -> Result<u32, Error> {
    let refused = |kind: &str, reason: &'static str| Error::SecondaryInterface {
        interface: interface.name.clone(),
        kind: kind.to_owned(),
        reason,
    };
    match &interface.kind {
        Kind::Veth => {}
        Kind::Loopback => return Err(refused("loopback", "it has no other end")),
        Kind::Other(kind) => {
            let reason =
                "its packets leave the pod without passing a veth end on the host, where the guard's program is";
            return Err(refused(kind, reason));
        }
    }
    let unknown = "the other end of the pair is not in the host's namespace";
    let peer_index = interface.peer_index.ok_or_else(|| refused("veth", unknown))?;
    let (peer, pod_id) = ask(host, "looking for the host's end of a pod's veth", |socket| {
        Ok((link(socket, peer_index)?, netns_id(socket, pod)?))
    })?;
    match peer {
        Some(peer)
            if peer.kind == Kind::Veth
                && peer.peer_index == Some(interface.index)
                && peer.peer_netns.is_some()
                && peer.peer_netns == pod_id =>
        {
            Ok(peer_index)
        }
        _ => Err(refused("veth", unknown)),
    }
}

/// Built-in tunnel drivers (`net.core.fb_tunnels_only_for_init_net` = 0) create `tunl0`, `sit0`, ... in each namespace.
/// They are down, and raising one needs `CAP_NET_ADMIN`, which no agent has.
fn is_idle_fallback_tunnel(interface: &Interface) -> bool {
    const FALLBACKS: [(&str, &str); 9] = [
        ("tunl0", "ipip"),
        ("gre0", "gre"),
        ("gretap0", "gretap"),
        ("erspan0", "erspan"),
        ("ip_vti0", "vti"),
        ("ip6_vti0", "vti6"),
        ("sit0", "sit"),
        ("ip6tnl0", "ip6tnl"),
        ("ip6gre0", "ip6gre"),
    ];
    let Kind::Other(kind) = &interface.kind else { return false };
    !interface.up && FALLBACKS.contains(&(interface.name.as_str(), kind.as_str()))
}

fn ask<T: Send>(
    netns: &Netns,
    doing: &str,
    questions: impl FnOnce(&mut Socket) -> io::Result<T> + Send,
) -> Result<T, Error> {
    netns
        .run(|| questions(&mut Socket::open(None)?))?
        .map_err(|error| Error::syscall("rtnetlink", format!("{doing} of {}", netns.origin()), "", error))
}

/// One interface by index, without its addresses.
fn link(socket: &mut Socket, index: u32) -> io::Result<Option<Interface>> {
    let mut ifinfomsg = [0; IFINFOMSG];
    ifinfomsg[4..8].copy_from_slice(&index.to_ne_bytes());
    match socket.ask(Request::new(RTM_GETLINK, 0).fixed(&ifinfomsg)) {
        Ok(answer) => Ok(answer.as_ref().and_then(interface)),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id that the socket's namespace has for `other`; `None` when it never met it.
fn netns_id(socket: &mut Socket, other: &Netns) -> io::Result<Option<i32>> {
    let request = Request::new(RTM_GETNSID, 0)
        .fixed(&[0; RTGENMSG])
        .attribute(NETNSA_FD, &other.as_fd().as_raw_fd().to_ne_bytes());
    let answer = socket.ask(request)?;
    let id = answer.as_ref().and_then(|message| attribute(message.attributes(RTGENMSG), NETNSA_NSID).and_then(signed));
    Ok(id.filter(|id| *id >= 0))
}

fn interface(message: &Message) -> Option<Interface> {
    if message.kind != RTM_NEWLINK {
        return None;
    }
    let header = message.payload.first_chunk::<IFINFOMSG>()?;
    let list = message.attributes(IFINFOMSG);
    let driver = attribute(list, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND)).map(text);
    let kind = match driver.as_deref() {
        Some("veth") => Kind::Veth,
        Some(other) => Kind::Other(other.to_owned()),
        None if u16::from_ne_bytes([header[2], header[3]]) == ARPHRD_LOOPBACK => Kind::Loopback,
        None => Kind::Other("device".into()),
    };
    Some(Interface {
        name: attribute(list, IFLA_IFNAME).map(text)?,
        index: number(&header[4..8])?,
        kind,
        peer_index: attribute(list, IFLA_LINK).and_then(number).filter(|index| *index != 0),
        peer_netns: attribute(list, IFLA_LINK_NETNSID).and_then(signed),
        mac: attribute(list, IFLA_ADDRESS).and_then(|bytes| bytes.try_into().ok()),
        addresses: Vec::new(),
        up: number(&header[8..12])? & IFF_UP != 0,
    })
}

fn address(message: &Message) -> Option<(u32, IpAddr)> {
    if message.kind != RTM_NEWADDR {
        return None;
    }
    let index = number(message.payload.get(4..8)?)?;
    let list = message.attributes(IFADDRMSG);
    // On a point-to-point link IFA_ADDRESS is the far end; IFA_LOCAL, where there is one, is always ours.
    let bytes = attribute(list, IFA_LOCAL).or_else(|| attribute(list, IFA_ADDRESS))?;
    let address = match *bytes {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
    };
    Some((index, address))
}

fn signed(value: &[u8]) -> Option<i32> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}
