//! The maps, pinned by user space under these names. A change of a name, a kind or a type needs a new
//! [`guard_common::LAYOUT_VERSION`].

use aya_ebpf::{
    Global,
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{HashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use guard_common::{
    Address, CounterKey, NetnsEntry, REPORTS_BYTES, ServiceEntry, ServiceKey, VethAddressKey, VethEntry,
};

/// The control-plane set. 65,536 entries: ten for each address of a cluster of 5,000 nodes.
#[map]
pub static CONTROL_PLANE: HashMap<ServiceKey, ServiceEntry> = HashMap::with_max_entries(65_536, 0);

/// Network namespace's cookie → its workload and listener.
#[map]
pub static NETNS: HashMap<u64, NetnsEntry> = HashMap::with_max_entries(4_096, 0);

/// Workloads' cgroup ids, for what isn't in the workload's namespace. The value is not read.
#[map]
pub static CGROUPS: HashMap<u64, u8> = HashMap::with_max_entries(4_096, 0);

/// Interface index of a veth's host side → the workload at the other end.
#[map]
pub static VETHS: HashMap<u32, VethEntry> = HashMap::with_max_entries(4_096, 0);

/// The addresses that may be a packet's source on a veth. The value is not read.
#[map]
pub static VETH_ADDRESSES: HashMap<VethAddressKey, u8> = HashMap::with_max_entries(32_768, 0);

/// Refusals.
#[map]
pub static REFUSALS: PerCpuHashMap<CounterKey, u64> = PerCpuHashMap::with_max_entries(16_384, 0);

/// Refusals, one by one.
#[map]
pub static REPORTS: RingBuf = RingBuf::with_byte_size(REPORTS_BYTES, 0);

/// At index 0: reports that found [`REPORTS`] full. At index 1: refusals that found [`REFUSALS`] full.
#[map]
pub static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Where a redirected socket meant to go, for `getpeername`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct MeantFor {
    /// As in `sockaddr`: network byte order.
    pub address: Address,
    /// As in `bpf_sock_addr::user_port`: network byte order in the low half.
    pub port: u32,
    /// The listener that it was sent to instead, in the same form.
    pub listener: u32,
}

/// Freed with its socket.
#[btf_map]
pub static MEANT_FOR: SkStorage<MeantFor> = SkStorage::new();

/// The bit, or bits, that tell netfilter that a packet is an agent's.
#[unsafe(no_mangle)]
pub static AGENT_MARK: Global<u32> = Global::new(0);

/// The 96 bits of the cluster's NAT64 prefix, as three words in memory order.
#[unsafe(no_mangle)]
pub static NAT64_PREFIX: Global<[u32; 3]> = Global::new([0; 3]);
