//! The table: its sets, chains and rules.

use crate::netlink::{NLM_F_APPEND, NLM_F_CREATE, Request};

use super::Options;
use super::expression::{Expressions, Family, Verdict};
use super::message::{Verb, request};

/// Changes whenever a set, chain or rule does: a table of another layout is replaced.
const LAYOUT: u32 = 2;
/// The rules of [`rules`]: a table with fewer or more has been tampered with.
pub(super) const RULES: usize = 14;
/// Enough for the addresses of every agent pod that a node can hold; a bound on what spoofed sources could take.
const COUNTED_SOURCES: u32 = 65_536;
/// IPv6 header, some extension headers and the ports.
pub(super) const REPORTED_BYTES: u32 = 128;

// linux/netfilter/nf_tables.h
pub(super) const NFTA_TABLE_NAME: u16 = 1;
pub(super) const NFTA_TABLE_FLAGS: u16 = 2;
pub(super) const NFTA_TABLE_USERDATA: u16 = 6;
const NFT_SET_EVAL: u32 = 0x20;
const NF_INET_LOCAL_IN: u32 = 1;
const NF_INET_FORWARD: u32 = 2;
const NF_INET_LOCAL_OUT: u32 = 3;
const NF_ACCEPT: u32 = 1;

/// After connection tracking (-200), which reassembles fragments, and before `mangle` (-150), where other software sets
/// and clears marks. Destinations are final at any priority: they are rewritten in prerouting. But not by IPVS: see [`AFTER_IPVS`].
pub(super) const PRIORITY: i32 = -160;
/// Behind [`PRIORITY`] in INPUT: IPVS rewrites there, at 98 and 99 (the kernel's `ip_vs_ops`). What it delivers to the host itself goes
/// on from there; what it sends to another host passes OUTPUT, never FORWARD.
const AFTER_IPVS: i32 = 270;
/// What IPVS or another sends on is judged in OUTPUT for TCP alone. A tunnel's own packets bear the mark of what they carry: an agent's
/// packet to a pod of another node is none to that node's overlay port, which is in the set. The API server, kubelets and etcd speak TCP.
const RESENT_PROTOCOL: u8 = 6;

/// A set of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Set {
    /// Address, protocol, port.
    Endpoints4,
    Endpoints6,
    /// Address.
    Endpoints4Any,
    Endpoints6Any,
    /// Protocol, port.
    LocalPorts,
    /// Address of a workload, with a counter.
    Refused4,
    Refused6,
}

impl Set {
    pub(super) const ALL: [Self; 7] = [
        Self::Endpoints4,
        Self::Endpoints6,
        Self::Endpoints4Any,
        Self::Endpoints6Any,
        Self::LocalPorts,
        Self::Refused4,
        Self::Refused6,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Endpoints4 => "endpoints4",
            Self::Endpoints6 => "endpoints6",
            Self::Endpoints4Any => "endpoints4_any",
            Self::Endpoints6Any => "endpoints6_any",
            Self::LocalPorts => "local_ports",
            Self::Refused4 => "refused4",
            Self::Refused6 => "refused6",
        }
    }

    /// Bytes of a key. Each field fills whole 32-bit words.
    pub(super) fn key_length(self) -> u32 {
        match self {
            Self::Endpoints4 => 12,
            Self::Endpoints6 => 24,
            Self::Endpoints4Any | Self::Refused4 => 4,
            Self::Endpoints6Any | Self::Refused6 => 16,
            Self::LocalPorts => 8,
        }
    }

    /// How `nft` is to print the key: its own numbers for types, six bits a field. The kernel doesn't look at it.
    fn key_type(self) -> u32 {
        const IPV4_ADDR: u32 = 7;
        const IPV6_ADDR: u32 = 8;
        // 12 and 13
        const INET_PROTO_AND_SERVICE: u32 = 0x030d;
        match self {
            Self::Endpoints4 => IPV4_ADDR << 12 | INET_PROTO_AND_SERVICE,
            Self::Endpoints6 => IPV6_ADDR << 12 | INET_PROTO_AND_SERVICE,
            Self::Endpoints4Any | Self::Refused4 => IPV4_ADDR,
            Self::Endpoints6Any | Self::Refused6 => IPV6_ADDR,
            Self::LocalPorts => INET_PROTO_AND_SERVICE,
        }
    }

    fn is_counted(self) -> bool {
        matches!(self, Self::Refused4 | Self::Refused6)
    }
}

/// What identifies the rules that these options give; kept on the table, where `nft list` shows it as its comment.
pub(super) fn comment(options: &Options) -> Vec<u8> {
    let text = format!("egress guard, layout {LAYOUT}, mark {:#x}, NFLOG group {}", options.mark, options.log_group);
    let length = u8::try_from(text.len() + 1).expect("the comment is short");
    // nft's own format: type 0 (comment), length, text with NUL.
    let mut userdata = vec![0, length];
    userdata.extend_from_slice(text.as_bytes());
    userdata.push(0);
    userdata
}

/// Makes a whole table under this name, which need not be the options': reports bear theirs.
pub(super) fn create(options: &Options, table: &str, priority: i32) -> Vec<Request> {
    let mut changes =
        vec![new(Verb::NewTable).text(NFTA_TABLE_NAME, table).attribute(NFTA_TABLE_USERDATA, &comment(options))];
    for (id, set) in (1..).zip(Set::ALL) {
        changes.push(new_set(table, set, id));
    }
    changes.extend(["refuse", "endpoints", "to_host"].map(|name| chain(table, name)));
    changes.push(base_chain(table, "input", NF_INET_LOCAL_IN, priority));
    changes.push(base_chain(table, "delivered", NF_INET_LOCAL_IN, priority + AFTER_IPVS));
    changes.push(base_chain(table, "forward", NF_INET_FORWARD, priority));
    changes.push(base_chain(table, "output", NF_INET_LOCAL_OUT, priority));
    changes.extend(rules(options, table));
    changes
}

/// Deletes the whole table.
pub(super) fn delete(table: &str) -> Request {
    request(Verb::DelTable, 0).text(NFTA_TABLE_NAME, table)
}

fn rules(options: &Options, table: &str) -> [Request; RULES] {
    use Family::{V4, V6};
    use Verdict::{Drop, Goto, Jump};
    let rule = |chain: &str, expressions: &dyn Fn(Expressions) -> Expressions| {
        request(Verb::NewRule, NLM_F_CREATE | NLM_F_APPEND)
            .text(1, table)
            .text(2, chain)
            .nest(4, |list| expressions(Expressions::new(list)).done())
    };
    let address_and_port = |family, words, set: &'static str| {
        rule("endpoints", &|rule| {
            rule.family(family).destination(family).protocol_and_port(words).found_in(set).verdict(&Goto("refuse"))
        })
    };
    let address = |family, set: &'static str| {
        rule("endpoints", &|rule| rule.family(family).destination(family).found_in(set).verdict(&Goto("refuse")))
    };
    let count = |family, set: &'static str| rule("refuse", &|rule| rule.family(family).source(family).count_in(set));
    [
        // A packet without the mark meets one rule of ours in each chain. One that is dropped meets no chain after that: it is counted once.
        rule("input", &|rule| rule.marked(options.mark).verdict(&Jump("to_host"))),
        rule("delivered", &|rule| rule.marked(options.mark).verdict(&Jump("to_host"))),
        rule("forward", &|rule| rule.marked(options.mark).verdict(&Jump("endpoints"))),
        rule("output", &|rule| rule.marked(options.mark).protocol(RESENT_PROTOCOL).verdict(&Jump("endpoints"))),
        rule("to_host", &|rule| rule.protocol_and_port(0).found_in("local_ports").verdict(&Goto("refuse"))),
        rule("to_host", &|rule| rule.verdict(&Goto("endpoints"))),
        address_and_port(V4, 1, "endpoints4"),
        address_and_port(V6, 4, "endpoints6"),
        address(V4, "endpoints4_any"),
        address(V6, "endpoints6_any"),
        count(V4, "refused4"),
        count(V6, "refused6"),
        rule("refuse", &|rule| rule.report(options.log_group, &options.table, REPORTED_BYTES)),
        rule("refuse", &|rule| rule.verdict(&Drop)),
    ]
}

fn new(verb: Verb) -> Request {
    request(verb, NLM_F_CREATE)
}

fn new_set(table: &str, set: Set, id: u32) -> Request {
    let request = new(Verb::NewSet)
        .text(1, table)
        .text(2, set.name())
        .number(3, if set.is_counted() { NFT_SET_EVAL } else { 0 })
        .number(4, set.key_type())
        .number(5, set.key_length())
        .number(10, id);
    if set.is_counted() { request.nest(9, |description| description.number(1, COUNTED_SOURCES)) } else { request }
}

fn chain(table: &str, name: &str) -> Request {
    new(Verb::NewChain).text(1, table).text(3, name)
}

fn base_chain(table: &str, name: &str, hook: u32, priority: i32) -> Request {
    chain(table, name)
        .text(7, "filter")
        .number(5, NF_ACCEPT)
        .nest(4, |attributes| attributes.number(1, hook).attribute(2, &priority.to_be_bytes()))
}
