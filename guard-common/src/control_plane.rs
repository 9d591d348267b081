//! The control-plane set: what leads to the API server or around it.

use crate::Address;

/// In a [`ServiceKey`]: every port.
pub const ANY_PORT: u16 = 0;
/// In a [`ServiceKey`]: every protocol.
pub const ANY_PROTOCOL: u8 = 0;

/// IP protocol numbers (IANA), and the one by which a socket of Multipath TCP calls itself.
pub const PROTOCOL_ICMP: u8 = 1;
/// TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// ICMP for IPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;
/// `IPPROTO_MPTCP`: never on the wire, only in a socket.
pub const PROTOCOL_MPTCP: u32 = 262;

/// What an entry of the set says of an address, or of one service there.
///
/// Each address of the set has an entry with [`ANY_PORT`] and [`ANY_PROTOCOL`]; it says what becomes of whatever no other
/// entry of that address names. So one look-up tells that an address is not in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceKey {
    /// Where.
    pub address: Address,
    /// Port in host byte order, or [`ANY_PORT`].
    pub port: u16,
    /// IP protocol number, or [`ANY_PROTOCOL`].
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// See [`ServiceKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceEntry {
    /// An [`Action`], as its number: the kernel side treats what it doesn't know as [`Action::Refuse`].
    pub action: u32,
}

/// What becomes of traffic to a service of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// Dropped, counted and reported.
    Refuse = 0,
    /// A TCP connect goes to the workload's listener; anything else is refused.
    Redirect = 1,
    /// Passes: the rest of an address of which only some services are in the set.
    Pass = 2,
}

const _: () = assert!(size_of::<ServiceKey>() == 20 && size_of::<ServiceEntry>() == 4);

impl ServiceKey {
    /// One service of an address.
    #[inline(always)]
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        Self { address, port, protocol, reserved: 0 }
    }

    /// The rest of an address.
    #[inline(always)]
    pub const fn rest_of(address: Address) -> Self {
        Self::new(address, ANY_PORT, ANY_PROTOCOL)
    }
}
