//! The netfilter backstop: nft rules that drop what agent pods send to the control-plane set, whatever way it took.
//!
//! tcx on a pod's veth marks all that the pod sends. Here, after routing, address translation and decapsulation, the
//! rules look at the *final* destination of marked packets; with IPVS that is known in INPUT and OUTPUT only. They live in a
//! table of their own, `inet egress_guard`, made over netlink in one transaction; it has no owner, so enforcement outlives
//! the daemon.
//!
//! Later fragments have no ports and pass where the host does no connection tracking; without the first they are
//! useless.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::netlink;
use rustix::thread::{MembarrierCommand, membarrier};

use crate::Error;
use crate::netlink::{NLM_F_DUMP, Request, Socket, attribute};
use crate::netns::Netns;
use elements::Element;
use message::{NFGENMSG, Verb, batch, is, request};
use ruleset::{NFTA_TABLE_FLAGS, NFTA_TABLE_NAME, NFTA_TABLE_USERDATA, PRIORITY, RULES, Set};

pub use masquerade::{Masquerade, delete_tables};
pub use reports::{Hook, Refused, Reports};

mod elements;
mod expression;
mod masquerade;
mod message;
mod packet;
mod reports;
mod ruleset;

const HINT: &str = "it needs CAP_NET_ADMIN in the host's network namespace, and a kernel with CONFIG_NF_TABLES_INET, \
                    CONFIG_NFT_LOG and CONFIG_NETFILTER_NETLINK_LOG";
/// How often a change is tried again when somebody else changed the same set meanwhile.
const ATTEMPTS: usize = 5;
/// Far longer than a packet takes through its chains.
const WITHOUT_BARRIER: Duration = Duration::from_millis(200);

/// How the table is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The table's name, `egress_guard` on a node; at most 31 ASCII letters, digits and underscores.
    pub table: String,
    /// The bits of the packet mark that say "from an agent pod"; all of them must be set. Not 0.
    pub mark: u32,
    /// The NFLOG group that refused packets are reported to. A group has one reader in a namespace.
    pub log_group: u16,
}

/// Which ports of an address are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// Whatever is sent there, of any protocol.
    All,
    /// One port.
    One {
        /// The IP protocol number; `None`: of every protocol that has ports.
        protocol: Option<u8>,
        /// The port.
        port: u16,
    },
}

/// An entry of the control-plane set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// An IPv4-mapped address means the IPv4 address.
    pub address: IpAddr,
    /// Its ports.
    pub ports: Ports,
}

/// The guard's table in the host's network namespace.
pub struct Netfilter {
    socket: Mutex<Socket>,
    options: Options,
}

impl Netfilter {
    /// Makes the table, or takes over the one that is there.
    ///
    /// A table with the same rules stays as it is, its sets and counters too. Another one (of another version, or with
    /// other options, or altered) is replaced in one transaction that keeps sets and counters: there is no instant
    /// without rules.
    pub fn open(host: &Netns, options: Options) -> Result<Self, Error> {
        let doing = || format!("making the nft table inet {} in {}", options.table, host.origin());
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if options.mark == 0 || !(1..=31).contains(&options.table.len()) || !options.table.bytes().all(is_name) {
            let hint = "the mark must not be 0; the name must be 1 to 31 letters, digits and underscores";
            return Err(Error::syscall("nft", doing(), hint, io::Error::from(io::ErrorKind::InvalidInput)));
        }
        let socket = host
            .run(|| Socket::open(Some(netlink::NETFILTER)))?
            .map_err(|error| Error::syscall("socket(NETLINK_NETFILTER)", doing(), HINT, error))?;
        let netfilter = Self { socket: Mutex::new(socket), options };
        netfilter.ensure()?;
        Ok(netfilter)
    }

    /// Puts the rules back where somebody removed or altered them (`nft flush ruleset`); whether that was needed.
    ///
    /// Afterwards the sets hold what was still there: the caller sets them anew.
    pub fn ensure(&self) -> Result<bool, Error> {
        let mut socket = self.socket();
        self.ensure_with(&mut socket).map_err(|error| self.failed("making the rules of", error))
    }

    /// Makes these the endpoints that marked packets may not reach, in one transaction. Endpoints that stay are not
    /// touched, so that they are enforced throughout.
    pub fn set_endpoints(&self, endpoints: &[Endpoint]) -> Result<(), Error> {
        let mut wanted: HashMap<&'static str, HashSet<Vec<u8>>> = HashMap::new();
        for (set, key) in endpoints.iter().flat_map(elements::endpoint_keys) {
            wanted.entry(set.name()).or_default().insert(key);
        }
        let sets = [Set::Endpoints4, Set::Endpoints6, Set::Endpoints4Any, Set::Endpoints6Any];
        let wanted = sets.map(|set| (set, wanted.remove(set.name()).unwrap_or_default()));
        self.replace(&wanted).map_err(|error| self.failed("changing the endpoints of", error))
    }

    /// Makes these (protocol, port) the ones of the host itself that marked packets may not reach, at any of its
    /// addresses, in one transaction.
    pub fn set_local_ports(&self, ports: &[(u8, u16)]) -> Result<(), Error> {
        let wanted = ports.iter().map(|(protocol, port)| elements::port_key(*protocol, *port)).collect();
        self.replace(&[(Set::LocalPorts, wanted)]).map_err(|error| self.failed("changing the local ports of", error))
    }

    /// How many packets from each address have been refused. Exact: the kernel counts as it drops.
    pub fn refused(&self) -> Result<HashMap<IpAddr, u64>, Error> {
        let mut socket = self.socket();
        let mut counts = HashMap::new();
        for set in [Set::Refused4, Set::Refused6] {
            let elements = elements::list(&mut socket, &self.options.table, set)
                .map_err(|error| self.failed("reading the counters of", error))?;
            counts.extend(elements.iter().filter_map(|element| {
                Some((elements::source(&element.key)?, element.counter.map_or(0, |counter| counter.packets)))
            }));
        }
        Ok(counts)
    }

    /// Drops the counter of an address that no workload has any more; nothing where it has none.
    pub fn forget(&self, address: IpAddr) -> Result<(), Error> {
        let (set, key) = elements::source_key(address);
        let changes = elements::delete(&self.options.table, set, &[Element::from(key)]);
        match transact(&mut self.socket(), changes) {
            Err(error) if !is_missing(&error) => Err(self.failed("dropping a counter of", error)),
            _ => Ok(()),
        }
    }

    /// A reader of this table's reports. There can be one at a time in a namespace for each NFLOG group.
    pub fn reports(&self, host: &Netns) -> Result<Reports, Error> {
        Reports::open(host, &self.options)
    }

    /// Removes the table: marked packets pass. Counters are lost.
    pub fn remove(&self) -> Result<(), Error> {
        let mut socket = self.socket();
        let table = self.options.table.as_str();
        delete(&mut socket, &stand_in(table))
            .and_then(|()| delete(&mut socket, table))
            .map_err(|error| self.failed("removing", error))
    }

    fn ensure_with(&self, socket: &mut Socket) -> io::Result<bool> {
        let table = self.options.table.as_str();
        let found = find_table(socket, table)?;
        if found.as_deref() == Some(&ruleset::comment(&self.options)) && count_rules(socket, table)? == RULES {
            // One that was ended in the middle left it.
            delete(socket, &stand_in(table))?;
            return Ok(false);
        }
        if found.is_none() {
            transact(socket, ruleset::create(&self.options, table, PRIORITY))?;
            return Ok(true);
        }
        self.replace_table(socket)?;
        Ok(true)
    }

    /// One transaction is not enough: a packet may meet the new table's chain before it is in force, and the old one's when
    /// it no longer is (the kernel puts a new chain before those of its priority). So a stand-in behind both is in force
    /// meanwhile. What it drops is reported and not counted.
    fn replace_table(&self, socket: &mut Socket) -> io::Result<()> {
        let table = self.options.table.as_str();
        let stand_in = stand_in(table);
        delete(socket, &stand_in)?;
        let mut changes = ruleset::create(&self.options, &stand_in, PRIORITY + 1);
        changes.extend(kept(socket, table, &stand_in)?);
        transact(socket, changes)?;
        packets_under_way_are_through();
        let mut changes = vec![ruleset::delete(table)];
        changes.extend(ruleset::create(&self.options, table, PRIORITY));
        changes.extend(kept(socket, table, table)?);
        transact(socket, changes)?;
        packets_under_way_are_through();
        delete(socket, &stand_in)
    }

    fn replace(&self, wanted: &[(Set, HashSet<Vec<u8>>)]) -> io::Result<()> {
        let mut socket = self.socket();
        for _ in 0..ATTEMPTS {
            match self.replace_once(&mut socket, wanted) {
                // An element to be deleted had gone since it was listed.
                Err(error) if is_missing(&error) => {
                    self.ensure_with(&mut socket)?;
                }
                outcome => return outcome,
            }
        }
        Err(io::Error::from(rustix::io::Errno::BUSY))
    }

    fn replace_once(&self, socket: &mut Socket, wanted: &[(Set, HashSet<Vec<u8>>)]) -> io::Result<()> {
        let table = self.options.table.as_str();
        let (mut additions, mut deletions) = (Vec::new(), Vec::new());
        for (set, wanted) in wanted {
            let present: HashSet<_> =
                elements::list(socket, table, *set)?.into_iter().map(|element| element.key).collect();
            let missing: Vec<_> = wanted.difference(&present).cloned().map(Element::from).collect();
            let surplus: Vec<_> = present.difference(wanted).cloned().map(Element::from).collect();
            additions.extend(elements::add(table, *set, &missing));
            deletions.extend(elements::delete(table, *set, &surplus));
        }
        additions.append(&mut deletions);
        transact(socket, additions)
    }

    fn socket(&self) -> MutexGuard<'_, Socket> {
        // Every question has its own number, so what a panic left unread is skipped.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, doing: &str, error: io::Error) -> Error {
        Error::syscall("nft", format!("{doing} the nft table inet {}", self.options.table), HINT, error)
    }
}

/// The name of the table that stands in while another is replaced.
fn stand_in(table: &str) -> String {
    format!("{table}_stand_in")
}

/// Deletes a table, if it is there.
fn delete(socket: &mut Socket, table: &str) -> io::Result<()> {
    match transact(socket, vec![ruleset::delete(table)]) {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// What puts the elements of one table's sets, counters included, into another's.
fn kept(socket: &mut Socket, from: &str, to: &str) -> io::Result<Vec<Request>> {
    let mut changes = Vec::new();
    for set in Set::ALL {
        let mut kept = elements::list(socket, from, set)?;
        kept.retain(|element| element.key.len() == set.key_length() as usize);
        changes.extend(elements::add(to, set, &kept));
    }
    Ok(changes)
}

/// Waits until what met the rules of before has passed all chains. `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu`
/// (kernel/sched/membarrier.c), and a packet passes its chains within one RCU section.
fn packets_under_way_are_through() {
    if membarrier(MembarrierCommand::Global).is_err() {
        // Refused where CPUs run without ticks (nohz_full).
        std::thread::sleep(WITHOUT_BARRIER);
    }
}

fn transact(socket: &mut Socket, changes: Vec<Request>) -> io::Result<()> {
    batch(changes).map_or(Ok(()), |requests| socket.transact(requests))
}

/// The comment of the table when it is in force, empty when it is dormant (present, and doing nothing).
fn find_table(socket: &mut Socket, table: &str) -> io::Result<Option<Vec<u8>>> {
    let answer = match socket.ask(request(Verb::GetTable, 0).text(NFTA_TABLE_NAME, table)) {
        Ok(answer) => answer,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(answer.filter(|message| is(message.kind, Verb::NewTable)).map(|message| {
        let list = message.attributes(NFGENMSG);
        let is_in_force = attribute(list, NFTA_TABLE_FLAGS).is_some_and(|flags| flags == [0; 4]);
        attribute(list, NFTA_TABLE_USERDATA).filter(|_| is_in_force).unwrap_or_default().to_vec()
    }))
}

fn count_rules(socket: &mut Socket, table: &str) -> io::Result<usize> {
    const NFTA_RULE_TABLE: u16 = 1;
    let messages = socket.dump(&request(Verb::GetRule, NLM_F_DUMP).text(NFTA_RULE_TABLE, table))?;
    Ok(messages.iter().filter(|message| is(message.kind, Verb::NewRule)).count())
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ENOENT)
}
