//! The kernel's counts of refusals, read from the pinned map: they hold also while no guard runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, PerCpuHashMap};
use guard_common::{Hook, LAYOUT_VERSION, NetnsEntry, Reason, VethAddressKey, VethEntry};
use serde_json::Value;

use super::NodeNetns;

/// By which hook and why.
pub type Refused = (Hook, Reason);

/// A workload's counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<Refused, u64>);

impl Counters {
    /// Reads those of one workload.
    #[track_caller]
    pub fn read(pins: &Path, workload: u64) -> Self {
        let path = pins.join(format!("v{LAYOUT_VERSION}/maps/REFUSALS"));
        let map = MapData::from_pin(&path).unwrap_or_else(|error| panic!("opening {}: {error}", path.display()));
        let map: PerCpuHashMap<_, [u8; 16], u64> =
            PerCpuHashMap::try_from(Map::PerCpuHashMap(map)).expect("the map's types are those of guard-common");
        let mut counters = BTreeMap::new();
        for (key, values) in map.iter().map(|item| item.expect("reading the counters")) {
            // guard_common::CounterKey: workload, hook, reason, padding.
            let (owner, rest) = key.split_at(8);
            let owner = u64::from_ne_bytes(owner.try_into().expect("eight bytes"));
            if let (true, Some(hook), Some(reason)) =
                (owner == workload, Hook::from_number(rest[0]), Reason::from_number(rest[1]))
            {
                counters.insert((hook, reason), values.iter().sum());
            }
        }
        Self(counters)
    }

    /// How many entries each of the maps has that hold something for every pod.
    #[track_caller]
    pub fn entries(pins: &Path) -> [(&'static str, usize); 5] {
        let open = |name: &str| {
            let path = pins.join(format!("v{LAYOUT_VERSION}/maps/{name}"));
            MapData::from_pin(&path).unwrap_or_else(|error| panic!("opening {}: {error}", path.display()))
        };
        [
            ("NETNS", count::<8, { size_of::<NetnsEntry>() }>(open("NETNS"))),
            ("CGROUPS", count::<8, 1>(open("CGROUPS"))),
            ("VETHS", count::<4, { size_of::<VethEntry>() }>(open("VETHS"))),
            ("VETH_ADDRESSES", count::<{ size_of::<VethAddressKey>() }, 1>(open("VETH_ADDRESSES"))),
            ("REFUSALS", {
                let map: PerCpuHashMap<_, [u8; 16], u64> =
                    PerCpuHashMap::try_from(Map::PerCpuHashMap(open("REFUSALS")))
                        .expect("the map's types are those of guard-common");
                map.keys().count()
            }),
        ]
    }

    /// With what netfilter has counted of these sources behind the veth.
    #[track_caller]
    pub(super) fn with_netfilter(mut self, node: &NodeNetns, sources: &[IpAddr]) -> Self {
        let mut count = 0;
        for set in ["refused4", "refused6"] {
            let text = node.sh(&format!("nft --json list set inet egress_guard {set}"));
            let listed: Value = serde_json::from_str(&text).expect("nft's JSON");
            let elements =
                listed["nftables"].as_array().into_iter().flatten().filter_map(|part| part["set"]["elem"].as_array());
            for element in elements.flatten().map(|element| &element["elem"]) {
                let source = element["val"].as_str().and_then(|source| source.parse::<IpAddr>().ok());
                if source.is_some_and(|source| sources.contains(&source)) {
                    count += element["counter"]["packets"].as_u64().expect("each source has a counter");
                }
            }
        }
        self.0.insert((Hook::Netfilter, Reason::ControlPlane), count);
        self
    }

    /// How often so far.
    pub fn of(&self, hook: Hook, reason: Reason) -> u64 {
        self.0.get(&(hook, reason)).copied().unwrap_or(0)
    }

    /// What came since.
    pub fn since(&self, before: &Self) -> BTreeMap<Refused, u64> {
        let new = self.0.iter().map(|(key, count)| (*key, count.saturating_sub(before.of(key.0, key.1))));
        new.filter(|(_, count)| *count > 0).collect()
    }
}

/// Entries of a hash map whose keys and values are of these sizes.
#[track_caller]
fn count<const KEY: usize, const VALUE: usize>(map: MapData) -> usize {
    let map: HashMap<_, [u8; KEY], [u8; VALUE]> =
        HashMap::try_from(Map::HashMap(map)).expect("the map's types are those of guard-common");
    map.keys().count()
}
