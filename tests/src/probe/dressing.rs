//! Frames in disguise: each leads to the same place, if whoever forwards it reads it to the end.
//!
//! A dressing takes an Ethernet frame that holds a plain IP packet with TCP in it, and returns what is sent instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const VXLAN: u16 = 4789;
const GENEVE: u16 = 6081;

/// What is done to each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Dressing {
    /// Nothing.
    Plain,
    /// Bytes behind the packet's end.
    Padding,
    /// An 802.1Q tag with VLAN 0.
    PriorityTag,
    /// An 802.1Q tag with VLAN 7.
    VlanTag,
    /// An 802.1ad tag around an 802.1Q tag.
    DoubleTag,
    /// Two fragments.
    Fragments,
    /// Two fragments, the last one first.
    FragmentsReversed,
    /// Two fragments, each sent twice.
    FragmentsTwice,
    /// Two fragments that overlap by 8 bytes.
    FragmentsOverlapping,
    /// A first fragment of 8 bytes: ports, and no flags.
    FragmentsTiny,
    /// A fragment header on a packet that isn't fragmented (RFC 6946; IPv6).
    FragmentAtomic,
    /// IPv4: loose source routing by way of `--via`.
    LooseSourceRoute,
    /// IPv4: strict source routing by way of `--via`.
    StrictSourceRoute,
    /// IPv4: room for a route to be recorded.
    RecordRoute,
    /// IPv4: a router alert.
    RouterAlert,
    /// IPv6: hop-by-hop options.
    HopByHop,
    /// IPv6: one destination options header.
    DestinationOptions,
    /// IPv6: eight of them.
    ManyExtensionHeaders,
    /// IPv6: a routing header of type 0 that has nothing left to route.
    RoutingHeader,
    /// IPv6: segment routing (RFC 8754) by way of `--via`.
    SegmentRouting,
    /// VXLAN to `--via`, port 4789 or `--overlay-port`.
    Vxlan,
    /// Geneve to `--via`, port 6081 or `--overlay-port`.
    Geneve,
    /// IP in IP to `--via`.
    IpInIp,
    /// GRE to `--via`.
    Gre,
}

/// A dressing with what it needs.
#[derive(Clone, Debug)]
pub(super) struct Dresser {
    pub(super) dressing: Dressing,
    /// Who forwards it.
    pub(super) via: Option<IpAddr>,
    /// VXLAN network or Geneve identifier.
    pub(super) overlay_id: u32,
    pub(super) overlay_port: Option<u16>,
    /// Destination of the inner frame.
    pub(super) overlay_mac: [u8; 6],
}

impl Dresser {
    /// The frames to send instead of this one. What isn't TCP (the stack's own neighbour discovery) goes as it is.
    pub(super) fn dress(&self, frame: &[u8]) -> Vec<Vec<u8>> {
        match frame.get(12..14) {
            Some([0x08, 0x00]) if frame[ETHERNET + 9] == 6 => self.ipv4(frame),
            Some([0x86, 0xdd]) if frame[ETHERNET + 6] == 6 => self.ipv6(frame),
            _ => vec![frame.to_vec()],
        }
    }

    fn ipv4(&self, frame: &[u8]) -> Vec<Vec<u8>> {
        let (ethernet, packet) = frame.split_at(ETHERNET);
        let (header, payload) = packet.split_at(IPV4);
        let destination: [u8; 4] = header[16..20].try_into().expect("four bytes");
        let optioned = |options: &[u8], to: [u8; 4]| {
            let mut header = header.to_vec();
            header[0] = 0x40 | u8::try_from((IPV4 + options.len()) / 4).expect("at most 15");
            header[16..20].copy_from_slice(&to);
            header.extend_from_slice(options);
            vec![join(&[ethernet, &finish_ipv4(header, payload.len()), payload])]
        };
        let routed = |kind: u8| {
            let [a, b, c, d] = destination;
            optioned(&[kind, 7, 4, a, b, c, d, 0], self.via4().octets())
        };
        match self.dressing {
            Dressing::LooseSourceRoute => routed(131),
            Dressing::StrictSourceRoute => routed(137),
            Dressing::RecordRoute => optioned(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0], destination),
            Dressing::RouterAlert => optioned(&[148, 4, 0, 0], destination),
            Dressing::Fragments
            | Dressing::FragmentsReversed
            | Dressing::FragmentsTwice
            | Dressing::FragmentsOverlapping
            | Dressing::FragmentsTiny => {
                let piece = |from: usize, to: usize, more: bool| {
                    let mut header = header.to_vec();
                    let offset = u16::try_from(from / 8).expect("a small packet") | if more { 0x2000 } else { 0 };
                    header[4..6].copy_from_slice(&identification(payload));
                    header[6..8].copy_from_slice(&offset.to_be_bytes());
                    join(&[ethernet, &finish_ipv4(header, to - from), &payload[from..to]])
                };
                self.pieces(if self.dressing == Dressing::FragmentsTiny { 8 } else { 16 }, payload.len(), piece)
            }
            _ => self.either(frame),
        }
    }

    fn ipv6(&self, frame: &[u8]) -> Vec<Vec<u8>> {
        let (ethernet, packet) = frame.split_at(ETHERNET);
        let (header, payload) = packet.split_at(IPV6);
        let destination: [u8; 16] = header[24..40].try_into().expect("sixteen bytes");
        let with = |first: u8, extension: &[u8], to: [u8; 16], payload: &[u8]| {
            let mut header = header.to_vec();
            let length = u16::try_from(extension.len() + payload.len()).expect("a small packet");
            header[4..6].copy_from_slice(&length.to_be_bytes());
            header[6] = first;
            header[24..40].copy_from_slice(&to);
            join(&[ethernet, &header, extension, payload])
        };
        // Six bytes of PadN (RFC 8200 section 4.2).
        let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        match self.dressing {
            Dressing::HopByHop => vec![with(HOP_BY_HOP, &options(6), destination, payload)],
            Dressing::DestinationOptions => vec![with(DESTINATION_OPTIONS, &options(6), destination, payload)],
            Dressing::ManyExtensionHeaders => {
                let mut chain = options(DESTINATION_OPTIONS).repeat(7);
                chain.extend(options(6));
                vec![with(DESTINATION_OPTIONS, &chain, destination, payload)]
            }
            Dressing::RoutingHeader => {
                let routing = join(&[&[6, 2, 0, 0, 0, 0, 0, 0], &self.via6().octets()]);
                vec![with(ROUTING, &routing, destination, payload)]
            }
            Dressing::SegmentRouting => {
                let via = self.via6().octets();
                let routing = join(&[&[6, 4, 4, 1, 1, 0, 0, 0], &destination, &via]);
                vec![with(ROUTING, &routing, via, payload)]
            }
            Dressing::FragmentAtomic => {
                vec![with(FRAGMENT, &[6, 0, 0, 0, 0x70, 0x62, 0, 1], destination, payload)]
            }
            Dressing::Fragments
            | Dressing::FragmentsReversed
            | Dressing::FragmentsTwice
            | Dressing::FragmentsOverlapping
            | Dressing::FragmentsTiny => {
                let [a, b] = identification(payload);
                // Linux takes no first fragment below 1280 bytes, nor one without the whole header of TCP (RFC 8200, RFC 7112).
                let long = [filler(6), payload.to_vec()].concat();
                let piece = |from: usize, to: usize, more: bool| {
                    let offset = u16::try_from(from).expect("a small packet") | u16::from(more);
                    let [high, low] = offset.to_be_bytes();
                    with(FRAGMENT, &[DESTINATION_OPTIONS, 0, high, low, 0x70, 0x62, a, b], destination, &long[from..to])
                };
                let tiny = self.dressing == Dressing::FragmentsTiny;
                let cut = if tiny { 8 } else { long.len() - payload.len() + 24 };
                self.pieces(cut, long.len(), piece)
            }
            _ => self.either(frame),
        }
    }

    fn pieces(&self, cut: usize, length: usize, piece: impl Fn(usize, usize, bool) -> Vec<u8>) -> Vec<Vec<u8>> {
        if length <= cut {
            return vec![piece(0, length, false)];
        }
        let (first, last) = (piece(0, cut, true), piece(cut, length, false));
        match self.dressing {
            Dressing::FragmentsReversed => vec![last, first],
            Dressing::FragmentsTwice => vec![first.clone(), first, last.clone(), last],
            Dressing::FragmentsOverlapping => vec![first, piece(cut - 8, length, false)],
            _ => vec![first, last],
        }
    }

    /// What is done alike to both families.
    fn either(&self, frame: &[u8]) -> Vec<Vec<u8>> {
        let (addresses, rest) = frame.split_at(12);
        let packet = &frame[ETHERNET..];
        let dressed = match self.dressing {
            Dressing::Padding => join(&[frame, &[0; 32]]),
            Dressing::PriorityTag => join(&[addresses, &[0x81, 0, 0, 0], rest]),
            Dressing::VlanTag => join(&[addresses, &[0x81, 0, 0, 7], rest]),
            Dressing::DoubleTag => join(&[addresses, &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8], rest]),
            Dressing::Vxlan => {
                let [_, a, b, c] = self.overlay_id.to_be_bytes();
                self.overlay(frame, &[8, 0, 0, 0, a, b, c, 0], VXLAN)
            }
            Dressing::Geneve => {
                let [_, a, b, c] = self.overlay_id.to_be_bytes();
                self.overlay(frame, &[0, 0, 0x65, 0x58, a, b, c, 0], GENEVE)
            }
            Dressing::IpInIp => self.wrapped(frame, if packet[0] >> 4 == 4 { 4 } else { 41 }, packet),
            Dressing::Gre => self.wrapped(frame, 47, &join(&[&[0, 0], &rest[..2], packet])),
            _ => frame.to_vec(),
        };
        vec![dressed]
    }

    fn overlay(&self, frame: &[u8], header: &[u8], port: u16) -> Vec<u8> {
        let inner = join(&[&self.overlay_mac, &frame[6..]]);
        let length = u16::try_from(8 + header.len() + inner.len()).expect("a small packet");
        let port = self.overlay_port.unwrap_or(port).to_be_bytes();
        // A checksum of 0 means none (RFC 768), also for overlays on IPv6 (RFC 6935).
        let udp = [0xc0, 0x01, port[0], port[1], length.to_be_bytes()[0], length.to_be_bytes()[1], 0, 0];
        self.wrapped(frame, 17, &join(&[&udp, header, &inner]))
    }

    /// An outer header from the inner one's source to `--via`, of the same family.
    fn wrapped(&self, frame: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (ethernet, packet) = frame.split_at(ETHERNET);
        if packet[0] >> 4 == 4 {
            let mut header = packet[..IPV4].to_vec();
            header[9] = protocol;
            header[16..20].copy_from_slice(&self.via4().octets());
            join(&[ethernet, &finish_ipv4(header, payload.len()), payload])
        } else {
            let mut header = packet[..IPV6].to_vec();
            header[4..6].copy_from_slice(&u16::try_from(payload.len()).expect("a small packet").to_be_bytes());
            header[6] = protocol;
            header[24..40].copy_from_slice(&self.via6().octets());
            join(&[ethernet, &header, payload])
        }
    }

    fn via4(&self) -> Ipv4Addr {
        match self.via {
            Some(IpAddr::V4(via)) => via,
            _ => Ipv4Addr::UNSPECIFIED,
        }
    }

    fn via6(&self) -> Ipv6Addr {
        match self.via {
            Some(IpAddr::V6(via)) => via,
            _ => Ipv6Addr::UNSPECIFIED,
        }
    }
}

/// Sets total length and checksum; clears "don't fragment".
fn finish_ipv4(mut header: Vec<u8>, payload: usize) -> Vec<u8> {
    let length = u16::try_from(header.len() + payload).expect("a small packet");
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[6] &= !0x40;
    header[10..12].fill(0);
    let sum = !sum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// The ones' complement sum of 16-bit words (RFC 1071), of an even number of bytes.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    let total: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (total & 0xffff) + (total >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice")
}

/// One for each packet: the checksum of TCP is as good as a random number.
fn identification(tcp: &[u8]) -> [u8; 2] {
    [tcp[16], tcp[17]]
}

/// A destination options header of 1288 bytes: five options for experiments, which who doesn't know them skips (RFC 4727).
fn filler(next: u8) -> Vec<u8> {
    let mut header = vec![next, u8::try_from(1288 / 8 - 1).expect("160")];
    for _ in 0..5 {
        header.extend([0x1e, 255]);
        header.extend([0; 255]);
    }
    // Pad1
    header.push(0);
    header
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dresser(dressing: Dressing, via: &str) -> Dresser {
        let via = Some(via.parse().unwrap());
        Dresser { dressing, via, overlay_id: 99, overlay_port: None, overlay_mac: [2; 6] }
    }

    fn ipv4_frame() -> Vec<u8> {
        let mut frame = vec![0; ETHERNET];
        frame[12..14].copy_from_slice(&[8, 0]);
        let header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 96, 0, 1];
        frame.extend(finish_ipv4(header, 40));
        frame.extend(0..40);
        frame
    }

    fn ipv6_frame() -> Vec<u8> {
        let mut frame = vec![0; ETHERNET];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame.extend([0x60, 0, 0, 0, 0, 40, 6, 64]);
        frame.extend([1; 16]);
        frame.extend([2; 16]);
        frame.extend(0..40);
        frame
    }

    #[test]
    fn every_ipv4_header_has_a_right_checksum_and_length() {
        for dressing in Dressing::value_variants() {
            for frame in dresser(*dressing, "10.0.0.1").dress(&ipv4_frame()) {
                if frame[12..14] != [8, 0] || *dressing == Dressing::Padding {
                    continue;
                }
                let packet = &frame[ETHERNET..];
                let header = usize::from(packet[0] & 15) * 4;
                assert_eq!(sum(&packet[..header]), 0xffff, "{dressing:?}");
                assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len(), "{dressing:?}");
            }
        }
    }

    #[test]
    fn every_ipv6_packet_has_a_right_length() {
        for dressing in Dressing::value_variants() {
            for frame in dresser(*dressing, "fd00::1").dress(&ipv6_frame()) {
                if frame[12..14] == [0x86, 0xdd] && *dressing != Dressing::Padding {
                    let length = usize::from(u16::from_be_bytes([frame[ETHERNET + 4], frame[ETHERNET + 5]]));
                    assert_eq!(length, frame.len() - ETHERNET - IPV6, "{dressing:?}");
                }
            }
        }
    }

    #[test]
    fn fragments_hold_the_whole_payload_once() {
        let frames = dresser(Dressing::FragmentsReversed, "10.0.0.1").dress(&ipv4_frame());
        let payload: Vec<u8> = frames.iter().rev().flat_map(|frame| frame[ETHERNET + IPV4..].to_vec()).collect();
        assert_eq!(payload, (0..40).collect::<Vec<u8>>());
        assert_eq!(frames[0][ETHERNET + 7], 2, "the last fragment, at 16 bytes, goes first");
    }

    #[test]
    fn a_source_route_hides_where_it_goes_in_an_option() {
        let frames = dresser(Dressing::LooseSourceRoute, "10.0.0.1").dress(&ipv4_frame());
        let packet = &frames[0][ETHERNET..];
        assert_eq!(packet[16..20], [10, 0, 0, 1]);
        assert_eq!(packet[20..27], [131, 7, 4, 10, 96, 0, 1]);
    }

    #[test]
    fn what_is_not_tcp_goes_as_it_is() {
        let arp = [vec![0; 12], vec![8, 6], vec![0; 28]].concat();
        assert_eq!(dresser(Dressing::VlanTag, "10.0.0.1").dress(&arp), [arp]);
    }
}
