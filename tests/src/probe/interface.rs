//! The pod's own interface, as a program in the pod finds it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;

/// What CNI calls a pod's interface.
const NAME: &str = "eth0";

/// The interface with its addresses and ways out.
pub(super) struct Interface {
    pub(super) index: i32,
    pub(super) mac: [u8; 6],
    pub(super) ipv4: Option<Ipv4Addr>,
    /// The global one.
    pub(super) ipv6: Option<Ipv6Addr>,
    pub(super) gateway4: Option<Ipv4Addr>,
    pub(super) gateway6: Option<Ipv6Addr>,
}

impl Interface {
    pub(super) fn of_pod() -> io::Result<Self> {
        let attribute = |file: &str| fs::read_to_string(format!("/sys/class/net/{NAME}/{file}"));
        let index = attribute("ifindex")?.trim().parse().map_err(io::Error::other)?;
        let mac = mac(attribute("address")?.trim()).ok_or_else(|| io::Error::other("eth0 has no MAC address"))?;
        let mut found = Self { index, mac, ipv4: None, ipv6: None, gateway4: gateway4()?, gateway6: gateway6()? };
        for address in getifaddrs().map_err(io::Error::from)?.filter(|address| address.interface_name == NAME) {
            let Some(storage) = address.address else { continue };
            if let Some(v4) = storage.as_sockaddr_in() {
                found.ipv4.get_or_insert(v4.ip());
            }
            if let Some(v6) = storage.as_sockaddr_in6().filter(|v6| !v6.ip().is_unicast_link_local()) {
                found.ipv6.get_or_insert(v6.ip());
            }
        }
        Ok(found)
    }

    /// The address of this family.
    pub(super) fn address_towards(&self, to: IpAddr) -> io::Result<IpAddr> {
        let address = if to.is_ipv4() { self.ipv4.map(IpAddr::from) } else { self.ipv6.map(IpAddr::from) };
        address.ok_or_else(|| io::Error::other(format!("{NAME} has no address of the family of {to}")))
    }

    /// The next hop of the default route of this family.
    pub(super) fn gateway_towards(&self, to: IpAddr) -> io::Result<IpAddr> {
        let gateway = if to.is_ipv4() { self.gateway4.map(IpAddr::from) } else { self.gateway6.map(IpAddr::from) };
        gateway.ok_or_else(|| io::Error::other(format!("{NAME} has no default route towards {to}")))
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>().ok()?;
    bytes.try_into().ok()
}

/// proc(5): Iface, Destination, Gateway, …, hexadecimal in memory order.
fn gateway4() -> io::Result<Option<Ipv4Addr>> {
    let table = fs::read_to_string("/proc/net/route")?;
    let gateway = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let gateway = u32::from_str_radix(fields.get(2)?, 16).ok()?;
        (fields.first() == Some(&NAME) && fields[1] == "00000000").then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    });
    Ok(gateway)
}

/// Fields: destination, its prefix length, source, its prefix length, next hop, …, device; hexadecimal.
fn gateway6() -> io::Result<Option<Ipv6Addr>> {
    let table = fs::read_to_string("/proc/net/ipv6_route")?;
    let gateway = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let gateway = u128::from_str_radix(fields.get(4)?, 16).ok()?;
        let default = fields[1] == "00" && gateway != 0 && fields.last() == Some(&NAME);
        default.then(|| Ipv6Addr::from(gateway))
    });
    Ok(gateway)
}

/// An address beside this one that nobody has: the networks of pods are given out from below.
pub(super) fn neighbour_of(own: IpAddr) -> IpAddr {
    match own {
        IpAddr::V4(own) => Ipv4Addr::from(u32::from(own) ^ 0x80).into(),
        IpAddr::V6(own) => Ipv6Addr::from(u128::from(own) ^ 0x8000).into(),
    }
}

/// A free port of this machine, held by nobody: the stack in user space takes it.
pub(super) fn free_port(address: IpAddr) -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(SocketAddr::new(address, 0))?.local_addr()?.port())
}
