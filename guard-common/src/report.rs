//! Refusals: how they are counted, and how they reach user space.

use crate::Address;

/// The hook that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Hook {
    /// `cgroup/connect4`
    Connect4 = 1,
    /// `cgroup/connect6`
    Connect6 = 2,
    /// `cgroup/sendmsg4`
    Sendmsg4 = 3,
    /// `cgroup/sendmsg6`
    Sendmsg6 = 4,
    /// `cgroup/bind4`
    Bind4 = 5,
    /// `cgroup/bind6`
    Bind6 = 6,
    /// `cgroup_skb/egress`
    SkbEgress = 7,
    /// tcx (or clsact) ingress on the host side of the pod's veth
    VethIngress = 8,
    /// netfilter INPUT, FORWARD and OUTPUT, behind the veth
    Netfilter = 9,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The destination is in the control-plane set.
    ControlPlane = 1,
    /// A fragment, or a protocol without ports, to an address of the control-plane set.
    Portless = 2,
    /// What the parser doesn't know: it can't be told where it goes.
    Unparsed = 3,
    /// A VLAN tag.
    Tagged = 4,
    /// A source address that is not the pod's own.
    ForeignSource = 5,
    /// An IPv4 option or an IPv6 routing header that could lead it elsewhere.
    SourceRouted = 6,
    /// The listener's own port.
    ListenerPort = 7,
    /// A connect to the control-plane set where there is no listener to take it.
    NoListener = 8,
}

/// Refusals are counted per workload, hook and reason, on each CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct CounterKey {
    /// The workload: its cgroup's id, or [`crate::UNKNOWN_WORKLOAD`].
    pub workload: u64,
    /// A [`Hook`], as its number.
    pub hook: u8,
    /// A [`Reason`], as its number.
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// One refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Report {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boot_time_nanoseconds: u64,
    /// The workload: its cgroup's id, or [`crate::UNKNOWN_WORKLOAD`].
    pub workload: u64,
    /// Where it would have gone; zero where that isn't known.
    pub destination: Address,
    /// Port in host byte order; zero where there is none.
    pub port: u16,
    /// IP protocol number; zero where that isn't known.
    pub protocol: u8,
    /// A [`Hook`], as its number.
    pub hook: u8,
    /// A [`Reason`], as its number.
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<CounterKey>() == 16 && size_of::<Report>() == 40);

impl Hook {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Connect4,
        Self::Connect6,
        Self::Sendmsg4,
        Self::Sendmsg6,
        Self::Bind4,
        Self::Bind6,
        Self::SkbEgress,
        Self::VethIngress,
        Self::Netfilter,
    ];

    /// The name in metrics and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Bind4 => "bind4",
            Self::Bind6 => "bind6",
            Self::SkbEgress => "skb_egress",
            Self::VethIngress => "veth_ingress",
            Self::Netfilter => "netfilter",
        }
    }

    /// The hook of a number that the kernel side wrote.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| *hook as u8 == number)
    }
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ControlPlane,
        Self::Portless,
        Self::Unparsed,
        Self::Tagged,
        Self::ForeignSource,
        Self::SourceRouted,
        Self::ListenerPort,
        Self::NoListener,
    ];

    /// The name in metrics and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control_plane",
            Self::Portless => "portless",
            Self::Unparsed => "unparsed",
            Self::Tagged => "tagged",
            Self::ForeignSource => "foreign_source",
            Self::SourceRouted => "source_routed",
            Self::ListenerPort => "listener_port",
            Self::NoListener => "no_listener",
        }
    }

    /// The reason of a number that the kernel side wrote.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }
}

impl CounterKey {
    /// The counter of one kind of refusal.
    #[inline(always)]
    pub const fn new(workload: u64, hook: Hook, reason: Reason) -> Self {
        Self { workload, hook: hook as u8, reason: reason as u8, reserved: [0; 6] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_from_the_kernel_finds_its_hook_and_reason() {
        for hook in Hook::ALL {
            assert_eq!(Hook::from_number(hook as u8), Some(hook));
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::from_number(reason as u8), Some(reason));
        }
        assert_eq!(Hook::from_number(0), None);
        assert_eq!(Reason::from_number(200), None);
    }
}
