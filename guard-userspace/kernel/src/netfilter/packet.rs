//! The first bytes of a reported packet: addresses, protocol, port. An agent wrote them.

use std::net::IpAddr;

/// What a report tells of its packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// What is behind all extension headers that the report holds.
    pub(super) protocol: u8,
    pub(super) port: Option<u16>,
}

const FRAGMENT_OFFSET: u16 = 0x1fff;

pub(super) fn parse(packet: &[u8]) -> Option<Header> {
    match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<20>()?;
            let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & FRAGMENT_OFFSET != 0;
            let transport = packet.get(usize::from(header[0] & 0xf) * 4..).filter(|_| !is_later_fragment);
            Some(Header {
                source: IpAddr::from(*packet[12..].first_chunk::<4>()?),
                destination: IpAddr::from(*packet[16..].first_chunk::<4>()?),
                protocol: header[9],
                port: port(header[9], transport),
            })
        }
        6 => {
            let header = packet.first_chunk::<40>()?;
            let (protocol, transport) = skip_extensions(header[6], &packet[40..]);
            Some(Header {
                source: IpAddr::from(*packet[8..].first_chunk::<16>()?),
                destination: IpAddr::from(*packet[24..].first_chunk::<16>()?),
                protocol,
                port: port(protocol, transport),
            })
        }
        _ => None,
    }
}

fn port(protocol: u8, transport: Option<&[u8]>) -> Option<u16> {
    if !matches!(protocol, 6 | 17 | 33 | 132 | 136) {
        return None;
    }
    transport?.get(2..4)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Ends: every step takes at least eight bytes off the report.
fn skip_extensions(mut protocol: u8, mut rest: &[u8]) -> (u8, Option<&[u8]>) {
    loop {
        let length = match (protocol, rest) {
            // hop-by-hop, routing, destination options: units of eight bytes beyond the first
            (0 | 43 | 60, [_, length, ..]) => (usize::from(*length) + 1) * 8,
            // authentication: units of four bytes, less two
            (51, [_, length, ..]) => (usize::from(*length) + 2) * 4,
            // fragment
            (44, [_, _, high, low, ..]) if u16::from_be_bytes([*high, *low]) & !7 != 0 => return (rest[0], None),
            (44, [_, _, _, _, ..]) => 8,
            (0 | 43 | 60 | 51 | 44, _) => return (protocol, None),
            _ => return (protocol, Some(rest)),
        };
        let Some(behind) = rest.get(length..) else { return (rest[0], None) };
        protocol = rest[0];
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Route, udp_frame};

    fn packet(route: Route) -> Vec<u8> {
        udp_frame(([0; 6], [0; 6]), route, (1234, 6443), b"x").unwrap().split_off(14)
    }

    fn v6() -> Vec<u8> {
        packet(Route::V6("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap()))
    }

    fn with_extension(next: u8, extension: &[u8]) -> Vec<u8> {
        let mut bytes = v6();
        bytes[6] = next;
        bytes.splice(40..40, extension.iter().copied());
        bytes
    }

    #[test]
    fn both_families_are_read() {
        let v4 = packet(Route::V4("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()));
        let (source, destination) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert_eq!(parse(&v4).unwrap(), Header { source, destination, protocol: 17, port: Some(6443) });
        let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        assert_eq!(parse(&v6()).unwrap(), Header { source, destination, protocol: 17, port: Some(6443) });
    }

    #[test]
    fn the_port_is_found_behind_extension_headers() {
        let both = with_extension(0, &[[60, 0, 0, 0, 0, 0, 0, 0], [17, 0, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(parse(&both).unwrap().port, Some(6443));
        let first_fragment = with_extension(44, &[17, 0, 0, 1, 0, 0, 0, 9]);
        assert_eq!(parse(&first_fragment).unwrap().port, Some(6443));
        let authentication = with_extension(51, &[17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse(&authentication).unwrap().port, Some(6443));
    }

    #[test]
    fn a_later_fragment_has_no_port() {
        let later = parse(&with_extension(44, &[17, 0, 0, 8, 0, 0, 0, 9])).unwrap();
        assert_eq!((later.protocol, later.port), (17, None));
    }

    #[test]
    fn an_endless_chain_ends_with_the_report() {
        let chain = parse(&with_extension(0, &[0; 88])).unwrap();
        assert_eq!(chain.port, None);
    }

    #[test]
    fn every_cut_is_read_or_refused_without_panic() {
        for whole in [with_extension(0, &[60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0]), v6()] {
            for end in 0..whole.len() {
                assert_eq!(parse(&whole[..end]).is_some(), end >= 40);
            }
        }
    }
}
