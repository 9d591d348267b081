//! The control-plane set, and how the kernel's copy of it is replaced without a gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::maps::{HashMap, MapData};
use guard_common::{ANY_PROTOCOL, Action, Address, PROTOCOL_TCP, ServiceEntry, ServiceKey};

use super::raw::Raw;
use crate::{
    Error,
    netfilter::{Endpoint, Ports},
};

/// One entry of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Where. A mapped IPv6 address counts as the IPv4 address that it maps.
    pub address: IpAddr,
    /// Which service there.
    pub service: Service,
}

/// A service of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Every port and protocol is refused.
    All,
    /// A port that is refused: with one IP protocol, or with all that have ports.
    Refused {
        /// IP protocol number; `None`: all of them.
        protocol: Option<u8>,
        /// The port.
        port: u16,
    },
    /// The API server: TCP to this port goes to the workload's listener, other protocols to it are refused.
    ApiServer {
        /// The port.
        port: u16,
    },
}

/// What leads to the API server or around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlPlaneSet {
    /// The entries.
    pub entries: BTreeSet<Entry>,
    /// IP protocol number and port of services that are refused on whatever address of the node: a node has more addresses
    /// than any list (bridges, link-local).
    pub local_ports: BTreeSet<(u8, u16)>,
}

impl ControlPlaneSet {
    /// The entries of both.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            entries: self.entries.union(&other.entries).copied().collect(),
            local_ports: self.local_ports.union(&other.local_ports).copied().collect(),
        }
    }

    /// The set as netfilter knows it: behind the veth there is no redirect, what gets there is refused.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |entry: &Entry| Endpoint {
            address: entry.address,
            ports: match entry.service {
                Service::All => Ports::All,
                Service::Refused { protocol, port } => Ports::One { protocol, port },
                Service::ApiServer { port } => Ports::One { protocol: None, port },
            },
        };
        self.entries.iter().map(endpoint).collect()
    }

    fn keys(&self) -> Keys {
        let mut keys = BTreeMap::new();
        let mut put = |key: ServiceKey, action| keys.insert(sort_key(&key), (key, action));
        let all: BTreeSet<_> = self
            .entries
            .iter()
            .filter(|entry| entry.service == Service::All)
            .map(|entry| to_address(entry.address))
            .collect();
        for entry in &self.entries {
            let address = to_address(entry.address);
            let rest = if all.contains(&address) { Action::Refuse } else { Action::Pass };
            put(ServiceKey::rest_of(address), rest);
        }
        for entry in &self.entries {
            if let Service::Refused { protocol, port } = entry.service {
                put(ServiceKey::new(to_address(entry.address), port, protocol.unwrap_or(ANY_PROTOCOL)), Action::Refuse);
            }
        }
        // Last, so that they win over a refusal of the same port.
        for entry in &self.entries {
            if let Service::ApiServer { port } = entry.service {
                let address = to_address(entry.address);
                put(ServiceKey::new(address, port, ANY_PROTOCOL), Action::Refuse);
                put(ServiceKey::new(address, port, PROTOCOL_TCP), Action::Redirect);
            }
        }
        keys
    }
}

pub(super) fn to_address(address: IpAddr) -> Address {
    match address.to_canonical() {
        IpAddr::V4(address) => Address::from_ipv4(address.octets()),
        IpAddr::V6(address) => Address(address.octets()),
    }
}

pub(super) fn from_address(address: Address) -> IpAddr {
    IpAddr::from(address.0).to_canonical()
}

fn sort_key(key: &ServiceKey) -> [u8; 19] {
    let mut bytes = [0; 19];
    bytes[..16].copy_from_slice(&key.address.0);
    bytes[16..18].copy_from_slice(&key.port.to_be_bytes());
    bytes[18] = key.protocol;
    bytes
}

/// By address, then port, then protocol.
type Keys = BTreeMap<[u8; 19], (ServiceKey, Action)>;
type Table = HashMap<MapData, Raw<ServiceKey>, Raw<ServiceEntry>>;

/// Puts what is new before it deletes what is old, but in a map that has no room for both.
pub(super) fn replace(map: &mut Table, set: &ControlPlaneSet) -> Result<(), Error> {
    let wanted = set.keys();
    let mut old = Vec::new();
    for key in map.keys() {
        let Raw(key) = key.map_err(|error| Error::map("CONTROL_PLANE", "reading it", error))?;
        if !wanted.contains_key(&sort_key(&key)) {
            old.push(key);
        }
    }
    if put(map, &wanted).is_ok() {
        return delete(map, &old);
    }
    delete(map, &old)?;
    put(map, &wanted)
}

/// A look-up starts at the rest of an address: so an address's services are put before its rest, and deleted after it.
fn put(map: &mut Table, wanted: &Keys) -> Result<(), Error> {
    for rest in [false, true] {
        for (key, action) in wanted.values().filter(|(key, _)| is_rest(key) == rest) {
            let entry = ServiceEntry { action: *action as u32 };
            map.insert(Raw(*key), Raw(entry), 0)
                .map_err(|error| Error::map("CONTROL_PLANE", "adding an entry", error))?;
        }
    }
    Ok(())
}

fn delete(map: &mut Table, keys: &[ServiceKey]) -> Result<(), Error> {
    for rest in [true, false] {
        for key in keys.iter().filter(|key| is_rest(key) == rest) {
            map.remove(&Raw(*key)).map_err(|error| Error::map("CONTROL_PLANE", "deleting an entry", error))?;
        }
    }
    Ok(())
}

fn is_rest(key: &ServiceKey) -> bool {
    *key == ServiceKey::rest_of(key.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(set: &ControlPlaneSet) -> Vec<(u16, u8, Action)> {
        set.keys().into_values().map(|(key, action)| (key.port, key.protocol, action)).collect()
    }

    fn set(services: &[Service]) -> ControlPlaneSet {
        let address = IpAddr::from([10, 96, 0, 1]);
        ControlPlaneSet {
            entries: services.iter().map(|service| Entry { address, service: *service }).collect(),
            local_ports: BTreeSet::new(),
        }
    }

    #[test]
    fn an_api_server_address_of_its_own_is_closed_but_for_the_redirect() {
        assert_eq!(
            actions(&set(&[Service::All, Service::ApiServer { port: 443 }])),
            [(0, 0, Action::Refuse), (443, 0, Action::Refuse), (443, PROTOCOL_TCP, Action::Redirect)]
        );
    }

    #[test]
    fn the_rest_of_a_node_passes() {
        assert_eq!(
            actions(&set(&[Service::Refused { protocol: None, port: 10250 }])),
            [(0, 0, Action::Pass), (10250, 0, Action::Refuse)]
        );
    }

    #[test]
    fn the_redirect_wins_over_a_refusal_of_the_same_port() {
        assert_eq!(
            actions(&set(&[
                Service::ApiServer { port: 6443 },
                Service::Refused { protocol: Some(PROTOCOL_TCP), port: 6443 }
            ])),
            [(0, 0, Action::Pass), (6443, 0, Action::Refuse), (6443, PROTOCOL_TCP, Action::Redirect)]
        );
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mapped: IpAddr = "::ffff:10.96.0.1".parse().expect("an address");
        assert_eq!(to_address(mapped), to_address(IpAddr::from([10, 96, 0, 1])));
    }
}
