//! What the kernel side knows of a workload.

use crate::Address;

/// The workload of what the kernel can't tell whose it is.
pub const UNKNOWN_WORKLOAD: u64 = 0;

/// Value of the map from a network namespace's cookie to the workload that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NetnsEntry {
    /// The workload: its cgroup's id.
    pub workload: u64,
    /// The listener's port on 127.0.0.1 and on ::1, in host byte order; 0 while there is no listener.
    pub port: u16,
    /// 1 if the listener is on ::1 too.
    pub ipv6: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// Value of the map from the host side of a veth (its interface index) to the workload at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct VethEntry {
    /// The workload: its cgroup's id.
    pub workload: u64,
}

/// Key of the set of the pods' own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct VethAddressKey {
    /// Interface index of the host side.
    pub interface: u32,
    /// One of the addresses at the other end.
    pub address: Address,
}

const _: () =
    assert!(size_of::<NetnsEntry>() == 16 && size_of::<VethEntry>() == 8 && size_of::<VethAddressKey>() == 20);
