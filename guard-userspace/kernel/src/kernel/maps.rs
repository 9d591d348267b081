//! The maps, each in the type that its keys and values have.

use std::net::IpAddr;

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
};
use guard_common::{CounterKey, NetnsEntry, ServiceEntry, ServiceKey, VethAddressKey, VethEntry};

use super::{WorkloadId, control_plane::from_address, counters::RefusalsMap, raw::Raw};
use crate::Error;

/// The maps that outlive the process. The ring buffers don't: two processes must never read the same one.
pub(super) const PINNED: [&str; 7] =
    ["CONTROL_PLANE", "NETNS", "CGROUPS", "VETHS", "VETH_ADDRESSES", "REFUSALS", "MEANT_FOR"];

pub(super) struct Maps {
    pub(super) control_plane: HashMap<MapData, Raw<ServiceKey>, Raw<ServiceEntry>>,
    pub(super) refusals: RefusalsMap,
    pub(super) lost: PerCpuArray<MapData, u64>,
    netns: HashMap<MapData, u64, Raw<NetnsEntry>>,
    cgroups: HashMap<MapData, u64, u8>,
    veths: HashMap<MapData, u32, Raw<VethEntry>>,
    veth_addresses: HashMap<MapData, Raw<VethAddressKey>, u8>,
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<(Self, RingBuf<MapData>), Error> {
        let maps = Self {
            control_plane: take(ebpf, "CONTROL_PLANE")?,
            refusals: take(ebpf, "REFUSALS")?,
            lost: take(ebpf, "LOST")?,
            netns: take(ebpf, "NETNS")?,
            cgroups: take(ebpf, "CGROUPS")?,
            veths: take(ebpf, "VETHS")?,
            veth_addresses: take(ebpf, "VETH_ADDRESSES")?,
        };
        Ok((maps, take(ebpf, "REPORTS")?))
    }

    pub(super) fn add_cgroup(&mut self, workload: WorkloadId) -> Result<(), Error> {
        self.cgroups.insert(workload, 0, 0).map_err(|error| Error::map("CGROUPS", "adding a workload", error))
    }

    /// Returns the entry that was there.
    pub(super) fn set_netns(&mut self, cookie: u64, entry: NetnsEntry) -> Result<Option<NetnsEntry>, Error> {
        let failed = |error| Error::map("NETNS", "setting a listener", error);
        let before = match self.netns.get(&cookie, 0) {
            Ok(Raw(before)) => Some(before),
            Err(MapError::KeyNotFound) => None,
            Err(error) => return Err(failed(error)),
        };
        self.netns.insert(cookie, Raw(entry), 0).map_err(failed)?;
        Ok(before)
    }

    /// Puts what is new before it deletes what is old.
    pub(super) fn set_veth(
        &mut self,
        interface: u32,
        entry: VethEntry,
        addresses: &[VethAddressKey],
    ) -> Result<(), Error> {
        let failed = |error| Error::map("VETH_ADDRESSES", "setting a pod's addresses", error);
        for address in addresses {
            self.veth_addresses.insert(Raw(*address), 0, 0).map_err(failed)?;
        }
        self.veths.insert(interface, Raw(entry), 0).map_err(|error| Error::map("VETHS", "adding a veth", error))?;
        let old = self.addresses_of(&[interface])?;
        for address in old.into_iter().filter(|address| !addresses.contains(address)) {
            self.veth_addresses.remove(&Raw(address)).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, workload: WorkloadId) -> Result<(), Error> {
        let cookies = keys_where(&self.netns, "NETNS", |Raw(entry)| entry.workload == workload)?;
        for cookie in cookies {
            self.netns.remove(&cookie).map_err(|error| Error::map("NETNS", "deleting a workload", error))?;
        }
        let interfaces = self.veths_of(workload)?;
        for address in self.addresses_of(&interfaces)? {
            self.veth_addresses
                .remove(&Raw(address))
                .map_err(|error| Error::map("VETH_ADDRESSES", "deleting a pod's addresses", error))?;
        }
        for interface in interfaces {
            self.veths.remove(&interface).map_err(|error| Error::map("VETHS", "deleting a veth", error))?;
        }
        match self.cgroups.remove(&workload) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(Error::map("CGROUPS", "deleting a workload", error)),
        }
        let mut counters = Vec::new();
        for key in self.refusals.keys() {
            let Raw(key) = key.map_err(|error| Error::map("REFUSALS", "reading it", error))?;
            if key.workload == workload {
                counters.push(key);
            }
        }
        for key in counters {
            let key: Raw<CounterKey> = Raw(key);
            self.refusals.remove(&key).map_err(|error| Error::map("REFUSALS", "deleting a counter", error))?;
        }
        Ok(())
    }

    /// The host sides of every pod's veths.
    pub(super) fn veths(&self) -> Result<Vec<u32>, Error> {
        keys_where(&self.veths, "VETHS", |_| true)
    }

    /// The host sides of one pod's veths.
    pub(super) fn veths_of(&self, workload: WorkloadId) -> Result<Vec<u32>, Error> {
        keys_where(&self.veths, "VETHS", |Raw(entry)| entry.workload == workload)
    }

    /// Every pod's addresses, with its workload.
    pub(super) fn addresses(&self) -> Result<Vec<(WorkloadId, IpAddr)>, Error> {
        let mut addresses = Vec::new();
        for item in &self.veths {
            let (interface, Raw(entry)) = item.map_err(|error| Error::map("VETHS", "reading it", error))?;
            for key in self.addresses_of(&[interface])? {
                addresses.push((entry.workload, from_address(key.address)));
            }
        }
        Ok(addresses)
    }

    fn addresses_of(&self, interfaces: &[u32]) -> Result<Vec<VethAddressKey>, Error> {
        let mut addresses = Vec::new();
        for key in self.veth_addresses.keys() {
            let Raw(key) = key.map_err(|error| Error::map("VETH_ADDRESSES", "reading it", error))?;
            if interfaces.contains(&key.interface) {
                addresses.push(key);
            }
        }
        Ok(addresses)
    }
}

fn keys_where<K: aya::Pod, V: aya::Pod>(
    map: &HashMap<MapData, K, V>,
    name: &'static str,
    wanted: impl Fn(&V) -> bool,
) -> Result<Vec<K>, Error> {
    let mut keys = Vec::new();
    for item in map {
        let (key, value) = item.map_err(|error| Error::map(name, "reading it", error))?;
        if wanted(&value) {
            keys.push(key);
        }
    }
    Ok(keys)
}

fn take<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, Error> {
    let map = ebpf.take_map(name).ok_or(Error::MissingInObject { kind: "map", name })?;
    M::try_from(map).map_err(|error| Error::map(name, "opening it", error))
}
