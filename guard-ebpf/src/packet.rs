//! Where a packet goes, read with `bpf_skb_load_bytes`: a packet's linear part may end after 14 bytes.
//!
//! What is not understood to its end is a [`Problem`]: the caller drops it.

use aya_ebpf::programs::sk_buff::SkBuff;
use guard_common::{Action, Address, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, Reason};

use crate::control_plane::listed;

const PROTOCOL_DCCP: u8 = 33;
const PROTOCOL_SCTP: u8 = 132;
const PROTOCOL_UDPLITE: u8 = 136;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// RFC 2113: multicast membership reports carry it, and it leads nowhere.
const ROUTER_ALERT: [u8; 2] = [148, 4];

// IPv6 extension headers (IANA).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// More than any stack sends; RFC 8504 section 5.3 lets a host set such a limit.
const MAX_EXTENSION_HEADERS: usize = 6;

/// What a packet says of itself.
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
    /// Host byte order; 0 where there is none.
    pub port: u16,
    form: Form,
    icmp_type: u8,
}

enum Form {
    Ported,
    Portless,
    Fragment,
}

/// A packet that can't be judged, as far as it was read.
pub struct Problem {
    pub reason: Reason,
    pub destination: Address,
    pub protocol: u8,
}

const NOWHERE: Problem = Problem { reason: Reason::Unparsed, destination: Address([0; 16]), protocol: 0 };

impl Packet {
    /// Reads the IPv4 packet that starts at `at`.
    #[inline(always)]
    pub fn ipv4(skb: &SkBuff, at: usize) -> Result<Self, Problem> {
        let header: [u8; IPV4_HEADER] = skb.load(at).map_err(|_| NOWHERE)?;
        let header_length = 4 * (header[0] & 0x0f) as usize;
        let total_length = u16::from_be_bytes([header[2], header[3]]) as usize;
        let packet = Self {
            source: Address::from_ipv4([header[12], header[13], header[14], header[15]]),
            destination: Address::from_ipv4([header[16], header[17], header[18], header[19]]),
            protocol: header[9],
            port: 0,
            form: Form::Portless,
            icmp_type: 0,
        };
        let whole = total_length >= header_length && at + total_length <= skb.len() as usize;
        if header[0] >> 4 != 4 || header_length < IPV4_HEADER || !(whole || is_big_segment(skb, total_length)) {
            return Err(packet.problem(Reason::Unparsed));
        }
        if header_length > IPV4_HEADER {
            let option: [u8; 2] = skb.load(at + IPV4_HEADER).map_err(|_| NOWHERE)?;
            if header_length != IPV4_HEADER + 4 || option != ROUTER_ALERT {
                return Err(packet.problem(Reason::SourceRouted));
            }
        }
        // More fragments, or an offset.
        if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
            return Ok(Self { form: Form::Fragment, ..packet });
        }
        packet.transport(skb, at + header_length)
    }

    /// Reads the IPv6 packet that starts at `at`.
    #[inline(always)]
    pub fn ipv6(skb: &SkBuff, at: usize) -> Result<Self, Problem> {
        let header: [u8; IPV6_HEADER] = skb.load(at).map_err(|_| NOWHERE)?;
        let payload_length = u16::from_be_bytes([header[4], header[5]]) as usize;
        let mut packet = Self {
            source: address(&header, 8),
            destination: address(&header, 24),
            protocol: header[6],
            port: 0,
            form: Form::Portless,
            icmp_type: 0,
        };
        let whole = at + IPV6_HEADER + payload_length <= skb.len() as usize;
        if header[0] >> 4 != 6 || !whole {
            return Err(packet.problem(Reason::Unparsed));
        }
        let mut at = at + IPV6_HEADER;
        for _ in 0..=MAX_EXTENSION_HEADERS {
            match packet.protocol {
                HOP_BY_HOP | DESTINATION_OPTIONS => {
                    let Ok([next, length]) = skb.load::<[u8; 2]>(at) else {
                        return Err(packet.problem(Reason::Unparsed));
                    };
                    packet.protocol = next;
                    at += 8 * (length as usize + 1);
                }
                ROUTING => return Err(packet.problem(Reason::SourceRouted)),
                FRAGMENT => {
                    // Atomic ones too: what is behind is not needed to know where it goes.
                    packet.form = Form::Fragment;
                    return Ok(packet);
                }
                _ => return packet.transport(skb, at),
            }
        }
        Err(packet.problem(Reason::Unparsed))
    }

    #[inline(always)]
    fn transport(mut self, skb: &SkBuff, at: usize) -> Result<Self, Problem> {
        match self.protocol {
            PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_SCTP | PROTOCOL_DCCP | PROTOCOL_UDPLITE => {
                let Ok(ports) = skb.load::<[u8; 4]>(at) else {
                    return Err(self.problem(Reason::Unparsed));
                };
                self.port = u16::from_be_bytes([ports[2], ports[3]]);
                self.form = Form::Ported;
            }
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
                let Ok([icmp_type]) = skb.load::<[u8; 1]>(at) else {
                    return Err(self.problem(Reason::Unparsed));
                };
                self.icmp_type = icmp_type;
            }
            _ => {}
        }
        Ok(self)
    }

    #[inline(always)]
    fn problem(&self, reason: Reason) -> Problem {
        Problem { reason, destination: self.destination, protocol: self.protocol }
    }

    /// Why this packet may not go where it goes, if so.
    #[inline(always)]
    pub fn refusal(&self) -> Option<Reason> {
        let listed = listed(self.destination)?;
        match self.form {
            Form::Ported if listed.service(self.port, self.protocol) == Action::Pass as u32 => None,
            Form::Ported => Some(Reason::ControlPlane),
            Form::Fragment => Some(Reason::Portless),
            Form::Portless if !listed.is_partial() => Some(Reason::ControlPlane),
            Form::Portless if self.is_needed_icmp() => None,
            Form::Portless => Some(Reason::Portless),
        }
    }

    /// Whether the source is the unspecified address, as in duplicate address detection (RFC 4862 section 5.4.2).
    #[inline(always)]
    pub fn is_address_detection(&self) -> bool {
        self.protocol == PROTOCOL_ICMPV6 && self.source == Address([0; 16])
    }

    /// ICMP that a node needs to hear from a pod: errors (path MTU among them), answers to a ping, neighbour discovery.
    #[inline(always)]
    fn is_needed_icmp(&self) -> bool {
        match self.protocol {
            PROTOCOL_ICMP => matches!(self.icmp_type, 0 | 3 | 11 | 12),
            PROTOCOL_ICMPV6 => matches!(self.icmp_type, 1..=4 | 129 | 133..=136),
            _ => false,
        }
    }
}

/// A segment of more than 64 KiB that the pod's own stack made ("BIG TCP") has the length 0. `gso_size` is the kernel's own
/// word and can't be set to lead the parser astray: what follows is read from the packet as always.
#[inline(always)]
fn is_big_segment(skb: &SkBuff, total_length: usize) -> bool {
    // SAFETY: the context is valid for the program's run.
    total_length == 0 && unsafe { (&raw const (*skb.skb).gso_size).read_volatile() } != 0
}

#[inline(always)]
fn address(header: &[u8; IPV6_HEADER], at: usize) -> Address {
    let mut bytes = [0; 16];
    let mut index = 0;
    while index < 16 {
        bytes[index] = header[at + index];
        index += 1;
    }
    Address(bytes)
}
