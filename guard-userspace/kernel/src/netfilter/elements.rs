//! Elements of sets: keys, counters, and the messages that add, delete and list them.

use std::io;
use std::net::IpAddr;

use crate::netlink::{Message, NLM_F_CREATE, NLM_F_DUMP, Request, Socket, attribute, attributes};

use super::message::{NFGENMSG, Verb, is, request};
use super::ruleset::Set;
use super::{Endpoint, Ports};

// linux/netfilter/nf_tables.h
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_EXPR: u16 = 7;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;

/// An attribute holds 64 KiB; an element takes at most 80 bytes.
const ELEMENTS_PER_MESSAGE: usize = 500;
/// What has ports in the place where TCP has them: TCP, UDP, SCTP, DCCP, UDP-Lite.
const PROTOCOLS_WITH_PORTS: [u8; 5] = [6, 17, 132, 33, 136];

/// An element of a set, as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    pub(super) counter: Option<Counter>,
}

/// What an element has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl From<Vec<u8>> for Element {
    fn from(key: Vec<u8>) -> Self {
        Self { key, counter: None }
    }
}

/// Where an endpoint belongs, and its keys there.
pub(super) fn endpoint_keys(endpoint: &Endpoint) -> Vec<(Set, Vec<u8>)> {
    let (address, with_port, any) = match endpoint.address.to_canonical() {
        IpAddr::V4(v4) => (v4.octets().to_vec(), Set::Endpoints4, Set::Endpoints4Any),
        IpAddr::V6(v6) => (v6.octets().to_vec(), Set::Endpoints6, Set::Endpoints6Any),
    };
    match endpoint.ports {
        Ports::All => vec![(any, address)],
        Ports::One { protocol, port } => protocol
            .map_or(PROTOCOLS_WITH_PORTS.to_vec(), |one| vec![one])
            .into_iter()
            .map(|protocol| (with_port, [address.clone(), port_key(protocol, port)].concat()))
            .collect(),
    }
}

/// Protocol and port, each in a word of its own.
pub(super) fn port_key(protocol: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![protocol, 0, 0, 0, high, low, 0, 0]
}

/// Where the refusals of a workload's address are counted, and its key there.
pub(super) fn source_key(address: IpAddr) -> (Set, Vec<u8>) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (Set::Refused4, v4.octets().to_vec()),
        IpAddr::V6(v6) => (Set::Refused6, v6.octets().to_vec()),
    }
}

/// The address in a key of one of the counting sets.
pub(super) fn source(key: &[u8]) -> Option<IpAddr> {
    match key.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(key).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(key).ok()?)),
        _ => None,
    }
}

pub(super) fn add(table: &str, set: Set, elements: &[Element]) -> Vec<Request> {
    change(&request(Verb::NewSetElem, NLM_F_CREATE), table, set, elements)
}

pub(super) fn delete(table: &str, set: Set, elements: &[Element]) -> Vec<Request> {
    change(&request(Verb::DelSetElem, 0), table, set, elements)
}

/// The elements of a set; none where there is no such set.
pub(super) fn list(socket: &mut Socket, table: &str, set: Set) -> io::Result<Vec<Element>> {
    let question = request(Verb::GetSetElem, NLM_F_DUMP)
        .text(NFTA_SET_ELEM_LIST_TABLE, table)
        .text(NFTA_SET_ELEM_LIST_SET, set.name());
    match socket.dump(&question) {
        Ok(messages) => Ok(messages.iter().flat_map(elements).collect()),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn change(empty: &Request, table: &str, set: Set, elements: &[Element]) -> Vec<Request> {
    elements
        .chunks(ELEMENTS_PER_MESSAGE)
        .map(|elements| {
            empty
                .clone()
                .text(NFTA_SET_ELEM_LIST_TABLE, table)
                .text(NFTA_SET_ELEM_LIST_SET, set.name())
                .nest(NFTA_SET_ELEM_LIST_ELEMENTS, |list| elements.iter().fold(list, encode))
        })
        .collect()
}

fn encode(list: Request, element: &Element) -> Request {
    list.nest(NFTA_LIST_ELEM, |attributes| {
        let attributes = attributes.nest(NFTA_SET_ELEM_KEY, |key| key.attribute(NFTA_DATA_VALUE, &element.key));
        let Some(counter) = element.counter else { return attributes };
        attributes.nest(NFTA_SET_ELEM_EXPR, |expression| {
            expression.text(NFTA_EXPR_NAME, "counter").nest(NFTA_EXPR_DATA, |data| {
                data.attribute(NFTA_COUNTER_BYTES, &counter.bytes.to_be_bytes())
                    .attribute(NFTA_COUNTER_PACKETS, &counter.packets.to_be_bytes())
            })
        })
    })
}

fn elements(message: &Message) -> Vec<Element> {
    if !is(message.kind, Verb::NewSetElem) {
        return Vec::new();
    }
    let list = attribute(message.attributes(NFGENMSG), NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    attributes(list).filter_map(|(_, element)| decode(element)).collect()
}

fn decode(element: &[u8]) -> Option<Element> {
    let key = attribute(attribute(element, NFTA_SET_ELEM_KEY)?, NFTA_DATA_VALUE)?.to_vec();
    let counter = attribute(element, NFTA_SET_ELEM_EXPR).and_then(|expression| {
        let data = attribute(expression, NFTA_EXPR_DATA)?;
        let number = |kind| attribute(data, kind)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        Some(Counter { packets: number(NFTA_COUNTER_PACKETS)?, bytes: number(NFTA_COUNTER_BYTES)? })
    });
    Some(Element { key, counter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_any_protocol_is_an_element_for_each_protocol_with_ports() {
        let endpoint =
            Endpoint { address: "10.0.0.1".parse().unwrap(), ports: Ports::One { protocol: None, port: 6443 } };
        let keys = endpoint_keys(&endpoint);
        assert_eq!(keys.len(), 5);
        assert_eq!(keys[0], (Set::Endpoints4, vec![10, 0, 0, 1, 6, 0, 0, 0, 0x19, 0x2b, 0, 0]));
        assert!(keys.iter().all(|(set, key)| key.len() == set.key_length() as usize));
    }

    #[test]
    fn an_ipv4_mapped_endpoint_is_an_ipv4_endpoint() {
        let endpoint = Endpoint { address: "::ffff:10.0.0.1".parse().unwrap(), ports: Ports::All };
        assert_eq!(endpoint_keys(&endpoint), [(Set::Endpoints4Any, vec![10, 0, 0, 1])]);
    }
}
