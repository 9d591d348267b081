//! The way out of a namespace behind a veth: masqueraded towards the network, and closed in all other directions.
//!
//! A table of its own. Nothing of the host's is changed, and nothing is left when the table is deleted.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use rustix::net::netlink;

use super::expression::{Expressions, Family, Verdict};
use super::message::{Verb, request};
use super::ruleset::NFTA_TABLE_NAME;
use super::{HINT, delete, transact};
use crate::Error;
use crate::netlink::{NLM_F_APPEND, NLM_F_CREATE, Request, Socket};
use crate::netns::Netns;

const NF_INET_LOCAL_IN: u32 = 1;
const NF_INET_FORWARD: u32 = 2;
const NF_INET_POST_ROUTING: u32 = 4;
const NF_ACCEPT: u32 = 1;
/// `NF_IP_PRI_FILTER`.
const FILTER: i32 = 0;
/// `NF_IP_PRI_NAT_SRC`.
const SOURCE_NAT: i32 = 100;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DNS: u16 = 53;

/// Who is masqueraded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    /// The table's name.
    pub table: String,
    /// The host's end of the veth.
    pub interface: String,
    /// What it shares with all interfaces of its kind, the beginning of their names.
    pub kin: String,
    /// The address behind it.
    pub v4: Ipv4Addr,
    /// The other address behind it.
    pub v6: Option<Ipv6Addr>,
    /// Forwarding was off before: then nothing is forwarded but what comes from such interfaces or goes there.
    pub forward_nothing_else: bool,
}

impl Masquerade {
    /// Makes the table in the host's namespace.
    pub fn install(&self, host: &Netns) -> Result<(), Error> {
        let made = host.run(|| transact(&mut Socket::open(Some(netlink::NETFILTER))?, self.changes()))?;
        made.map_err(|error| {
            let hint =
                "it needs CAP_NET_ADMIN, and a kernel with CONFIG_NFT_MASQ, CONFIG_NFT_CT and CONFIG_NFT_REJECT_INET";
            Error::syscall("nft", format!("making the nft table inet {}", self.table), hint, error)
        })
    }

    fn changes(&self) -> Vec<Request> {
        let table = self.table.as_str();
        let rule = |chain: &str, expressions: &dyn Fn(Expressions) -> Expressions| {
            request(Verb::NewRule, NLM_F_CREATE | NLM_F_APPEND)
                .text(1, table)
                .text(2, chain)
                .nest(4, |list| expressions(Expressions::new(list)).done())
        };
        let mut changes = vec![
            request(Verb::NewTable, NLM_F_CREATE).text(NFTA_TABLE_NAME, table),
            chain(table, "way_out", "nat", NF_INET_POST_ROUTING, SOURCE_NAT),
            chain(table, "host", "filter", NF_INET_LOCAL_IN, FILTER),
            chain(table, "through", "filter", NF_INET_FORWARD, FILTER),
            rule("way_out", &|rule| {
                rule.family(Family::V4).source(Family::V4).equal_to(&self.v4.octets()).masquerade()
            }),
        ];
        if let Some(v6) = self.v6 {
            changes.push(rule("way_out", &|rule| {
                rule.family(Family::V6).source(Family::V6).equal_to(&v6.octets()).masquerade()
            }));
        }
        // Of the host itself: pings, and a resolver that listens to others than the host.
        for protocol in [ICMP, ICMPV6] {
            changes.push(rule("host", &|rule| {
                rule.comes_from(&self.interface).protocol(protocol).verdict(&Verdict::Accept)
            }));
        }
        for protocol in [UDP, TCP] {
            changes.push(rule("host", &|rule| {
                rule.comes_from(&self.interface).protocol(protocol).port(DNS).verdict(&Verdict::Accept)
            }));
        }
        // The host's own connections to what listens inside are answered.
        changes.push(rule("host", &|rule| rule.comes_from(&self.interface).begins_connection().reject()));
        changes
            .push(rule("through", &|rule| rule.goes_to(&self.interface).begins_connection().verdict(&Verdict::Drop)));
        if self.forward_nothing_else {
            changes.push(rule("through", &|rule| rule.comes_from_kin(&self.kin).verdict(&Verdict::Accept)));
            changes.push(rule("through", &|rule| rule.goes_to_kin(&self.kin).verdict(&Verdict::Accept)));
            changes.push(rule("through", &|rule| rule.verdict(&Verdict::Drop)));
        }
        changes
    }
}

/// Deletes tables of the host's namespace; what is not there is left out.
pub fn delete_tables(host: &Netns, tables: &[&str]) -> Result<(), Error> {
    let work = || -> io::Result<()> {
        let mut socket = Socket::open(Some(netlink::NETFILTER))?;
        tables.iter().try_for_each(|table| delete(&mut socket, table))
    };
    host.run(work)?.map_err(|error| {
        Error::syscall("nft", format!("deleting the nft tables inet {}", tables.join(", ")), HINT, error)
    })
}

fn chain(table: &str, name: &str, kind: &str, hook: u32, priority: i32) -> Request {
    request(Verb::NewChain, NLM_F_CREATE)
        .text(1, table)
        .text(3, name)
        .text(7, kind)
        .number(5, NF_ACCEPT)
        .nest(4, |attributes| attributes.number(1, hook).attribute(2, &priority.to_be_bytes()))
}
