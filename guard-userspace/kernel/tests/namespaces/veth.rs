//! What the veth's program passes, frame by frame.

use std::net::{Ipv4Addr, Ipv6Addr};

use guard_common::{Hook, Reason};
use guard_kernel::packet::{self, Route};

use crate::guarded::{API_PORT, Guarded, OTHER_PORT, POD, POD6, SERVER, SERVER6};

fn frame(guarded: &Guarded, port: u16) -> Vec<u8> {
    udp(guarded, Route::V4(POD, SERVER), port)
}

fn frame6(guarded: &Guarded, port: u16) -> Vec<u8> {
    udp(guarded, Route::V6(POD6, SERVER6), port)
}

/// To the host's end of the veth, so that the host forwards it.
fn udp(guarded: &Guarded, route: Route, port: u16) -> Vec<u8> {
    let mac = |interfaces: Vec<guard_kernel::interfaces::Interface>, name: &str| {
        interfaces.into_iter().find(|interface| interface.name == name).unwrap().mac.unwrap()
    };
    let from = mac(guard_kernel::interfaces::list(&guarded.lab.pod.netns).unwrap(), "eth0");
    let to = mac(guard_kernel::interfaces::list(&guarded.lab.host.netns).unwrap(), "to_pod");
    packet::udp_frame((from, to), route, (4000, port), b"dressed").unwrap()
}

fn with_ethertype(frame: &[u8], tag: &[u8]) -> Vec<u8> {
    [&frame[..12], tag, &frame[12..]].concat()
}

/// Puts options behind the IPv4 header.
fn with_ipv4_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut dressed = [&frame[..34], options, &frame[34..]].concat();
    dressed[14] = 0x45 + u8::try_from(options.len() / 4).unwrap();
    let length = u16::try_from(dressed.len() - 14).unwrap();
    dressed[16..18].copy_from_slice(&length.to_be_bytes());
    dressed
}

/// Mends the IPv4 header's checksum, so that the kernel behind the veth takes the packet.
fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let length = 4 * usize::from(frame[14] & 0x0f);
    if frame[12..14] == [8, 0] && length >= 20 && frame.len() >= 14 + length {
        frame[24..26].fill(0);
        let words = frame[14..14 + length].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let sum = (sum >> 16) + (sum & 0xffff);
        frame[24..26].copy_from_slice(&(!u16::try_from((sum >> 16) + (sum & 0xffff)).unwrap()).to_be_bytes());
    }
    frame
}

fn with_fragment_field(frame: &[u8], field: u16) -> Vec<u8> {
    let mut dressed = frame.to_vec();
    dressed[20..22].copy_from_slice(&field.to_be_bytes());
    dressed
}

/// Puts extension headers behind the IPv6 header: each its own number and the bytes behind its next-header field.
fn with_extensions(frame: &[u8], extensions: &[(u8, [u8; 7])]) -> Vec<u8> {
    let mut dressed = frame[..54].to_vec();
    let mut at = 20;
    for (number, bytes) in extensions {
        dressed[at] = *number;
        at = dressed.len();
        dressed.push(17);
        dressed.extend_from_slice(bytes);
    }
    dressed.extend_from_slice(&frame[54..]);
    let length = u16::try_from(dressed.len() - 54).unwrap();
    dressed[18..20].copy_from_slice(&length.to_be_bytes());
    dressed
}

#[test]
fn the_veth_passes_only_what_it_has_parsed() {
    let guarded = Guarded::new("veth");
    let good = frame(&guarded, OTHER_PORT);
    let good6 = frame6(&guarded, OTHER_PORT);
    let to_api = frame(&guarded, API_PORT);
    let to_api6 = frame6(&guarded, API_PORT);
    let foreign = udp(&guarded, Route::V4(Ipv4Addr::new(10, 9, 0, 77), SERVER), OTHER_PORT);
    let foreign6 = udp(&guarded, Route::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 77), SERVER6), OTHER_PORT);
    let hop = (0, [0, 1, 4, 0, 0, 0, 0]);
    let destination = (60, [0, 1, 4, 0, 0, 0, 0]);
    let mut short = good.clone();
    short[14] = 0x44;
    let mut too_long = good.clone();
    too_long[16..18].copy_from_slice(&2000_u16.to_be_bytes());
    let mut gre = to_api.clone();
    gre[23] = 47;
    let mut gre_elsewhere = udp(&guarded, Route::V4(POD, Ipv4Addr::new(10, 9, 1, 99)), OTHER_PORT);
    gre_elsewhere[23] = 47;
    let mut arp = vec![0xff; 6];
    arp.extend_from_slice(&good[6..12]);
    arp.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend_from_slice(&good[6..12]);
    arp.extend_from_slice(&POD.octets());
    arp.extend_from_slice(&[0, 0, 0, 0, 0, 0, 10, 9, 0, 1]);
    let mut foreign_arp = arp.clone();
    foreign_arp[31] = 77;
    let first_fragment = with_fragment_field(&to_api, 0x2000);
    let later_fragment = with_fragment_field(&to_api, 0x0004);
    let table: Vec<(&str, Vec<u8>, Option<Reason>)> = vec![
        ("IPv4", good.clone(), None),
        ("IPv6", good6.clone(), None),
        ("ARP", arp, None),
        ("IPv4 to the API server", to_api.clone(), Some(Reason::ControlPlane)),
        ("IPv6 to the API server", to_api6.clone(), Some(Reason::ControlPlane)),
        ("padding behind a packet to the API server", [&to_api[..], &[0; 40]].concat(), Some(Reason::ControlPlane)),
        ("a VLAN tag", with_ethertype(&good, &[0x81, 0, 0, 5]), Some(Reason::Tagged)),
        ("a priority tag", with_ethertype(&good, &[0x81, 0, 0xe0, 0]), Some(Reason::Tagged)),
        ("two tags", with_ethertype(&good, &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]), Some(Reason::Tagged)),
        ("another ethertype", with_ethertype(&good, &[0x88, 0x47, 0, 0]), Some(Reason::Unparsed)),
        ("802.3 with LLC", with_ethertype(&good, &[0, 40, 0xaa, 0xaa]), Some(Reason::Unparsed)),
        ("a header length of 16", short, Some(Reason::Unparsed)),
        ("a length beyond the frame", too_long, Some(Reason::Unparsed)),
        ("less than a header", good[..30].to_vec(), Some(Reason::Unparsed)),
        ("loose source routing", with_ipv4_options(&good, &[131, 7, 4, 10, 9, 1, 2, 0]), Some(Reason::SourceRouted)),
        ("strict source routing", with_ipv4_options(&good, &[137, 7, 4, 10, 9, 1, 2, 0]), Some(Reason::SourceRouted)),
        ("record route", with_ipv4_options(&good, &[7, 7, 4, 0, 0, 0, 0, 0]), Some(Reason::SourceRouted)),
        ("router alert", with_ipv4_options(&good, &[148, 4, 0, 0]), None),
        ("router alert to the API server", with_ipv4_options(&to_api, &[148, 4, 0, 0]), Some(Reason::ControlPlane)),
        ("a first fragment to the API server", first_fragment, Some(Reason::Portless)),
        ("a later fragment to the API server", later_fragment, Some(Reason::Portless)),
        ("a fragment elsewhere", with_fragment_field(&gre_elsewhere, 0x2000), None),
        ("GRE to the API server's address", gre, Some(Reason::Portless)),
        ("GRE elsewhere", gre_elsewhere, None),
        ("a foreign source", foreign, Some(Reason::ForeignSource)),
        ("a foreign IPv6 source", foreign6, Some(Reason::ForeignSource)),
        ("ARP for another address", foreign_arp, Some(Reason::ForeignSource)),
        ("a hop-by-hop header", with_extensions(&good6, &[hop]), None),
        ("a hop-by-hop header to the API server", with_extensions(&to_api6, &[hop]), Some(Reason::ControlPlane)),
        (
            "several headers to the API server",
            with_extensions(&to_api6, &[hop, destination]),
            Some(Reason::ControlPlane),
        ),
        ("more headers than any stack sends", with_extensions(&to_api6, &[destination; 9]), Some(Reason::Unparsed)),
        ("a routing header", with_extensions(&good6, &[(43, [0, 2, 1, 0, 0, 0, 0])]), Some(Reason::SourceRouted)),
        ("segment routing", with_extensions(&good6, &[(43, [0, 4, 1, 0, 0, 0, 0])]), Some(Reason::SourceRouted)),
        ("an atomic fragment", with_extensions(&to_api6, &[(44, [0; 7])]), Some(Reason::Portless)),
        ("an unfinished chain", with_extensions(&good6, &[(60, [200, 0, 0, 0, 0, 0, 0])]), Some(Reason::Unparsed)),
    ];
    for (name, frame, expected) in table {
        let before = guarded.refused();
        let passed_before = marked(&guarded);
        guarded.inject(&with_checksum(frame));
        let after = guarded.refused();
        let new: Vec<_> = after.iter().filter(|(key, count)| before.get(key).unwrap_or(&0) < count).collect();
        match expected {
            None => {
                assert_eq!(new, [], "{name} passes");
                assert!(name == "ARP" || marked(&guarded) > passed_before, "{name} is marked as an agent's");
            }
            Some(reason) => {
                assert_eq!(new.len(), 1, "{name} is refused, for one reason");
                assert_eq!(*new[0].0, (Hook::VethIngress, reason), "{name}");
                assert_eq!(marked(&guarded), passed_before, "{name} goes no further");
            }
        }
    }
}

/// Packets with the agents' mark that came past the veth's program; not the pod's own neighbour discovery.
fn marked(guarded: &Guarded) -> u64 {
    let text = guarded.lab.host.nft("list counter inet seen marked");
    let words: Vec<_> = text.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "packets").unwrap();
    words[at + 1].parse().unwrap()
}
