//! The counts of refusals.

use std::{collections::HashMap, net::IpAddr};

use aya::maps::{MapData, PerCpuArray, PerCpuHashMap};
use guard_common::{CounterKey, Hook, Reason, UNKNOWN_WORKLOAD};

use super::{WorkloadId, address_book::AddressBook, raw::Raw};
use crate::Error;

/// How often one workload was refused by one hook for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusals {
    /// The workload; [`guard_common::UNKNOWN_WORKLOAD`] where the kernel couldn't tell.
    pub workload: WorkloadId,
    /// The hook.
    pub hook: Hook,
    /// The reason.
    pub reason: Reason,
    /// How often.
    pub count: u64,
}

pub(super) type RefusalsMap = PerCpuHashMap<MapData, Raw<CounterKey>, u64>;

pub(super) fn read(map: &RefusalsMap) -> Result<Vec<Refusals>, Error> {
    let failed = |error| Error::map("REFUSALS", "reading it", error);
    let mut refusals = Vec::new();
    for item in map {
        let (Raw(key), per_cpu) = item.map_err(failed)?;
        let (Some(hook), Some(reason)) = (Hook::from_number(key.hook), Reason::from_number(key.reason)) else {
            continue;
        };
        refusals.push(Refusals { workload: key.workload, hook, reason, count: per_cpu.iter().sum() });
    }
    Ok(refusals)
}

/// What netfilter counted by source address. An address of no workload is one that was released meanwhile.
pub(super) fn of_netfilter(counts: &HashMap<IpAddr, u64>, addresses: &AddressBook) -> Vec<Refusals> {
    let mut by_workload: HashMap<WorkloadId, u64> = HashMap::new();
    for (address, count) in counts {
        *by_workload.entry(addresses.workload(*address).unwrap_or(UNKNOWN_WORKLOAD)).or_default() += count;
    }
    let refusals =
        |(workload, count)| Refusals { workload, hook: Hook::Netfilter, reason: Reason::ControlPlane, count };
    by_workload.into_iter().map(refusals).collect()
}

pub(super) fn lost(map: &PerCpuArray<MapData, u64>) -> Result<u64, Error> {
    let per_cpu = map.get(&0, 0).map_err(|error| Error::map("LOST", "reading it", error))?;
    Ok(per_cpu.iter().sum())
}
