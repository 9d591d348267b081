//! What the kernel programs and user space share: keys and values of the maps, and the reports of refusals.
//!
//! Everything here is `repr(C)` without padding, so that a value is the same bytes on both sides. A change of any of these
//! types, or of a map's name or kind, needs a new [`LAYOUT_VERSION`].
#![no_std]

mod address;
mod control_plane;
mod report;
mod workload;

pub use address::{Address, NAT64_WELL_KNOWN_PREFIX, Nat64Prefix};
pub use control_plane::{
    ANY_PORT, ANY_PROTOCOL, Action, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_MPTCP, PROTOCOL_TCP, PROTOCOL_UDP,
    ServiceEntry, ServiceKey,
};
pub use report::{CounterKey, Hook, Reason, Report};
pub use workload::{NetnsEntry, UNKNOWN_WORKLOAD, VethAddressKey, VethEntry};

/// Version of the maps' layout. Pinned maps of another version are not taken over.
pub const LAYOUT_VERSION: u32 = 1;

/// Bytes of the ring buffer for [`Report`]s: about 5,000 reports. A power of two and a multiple of the page size.
pub const REPORTS_BYTES: u32 = 256 * 1024;
