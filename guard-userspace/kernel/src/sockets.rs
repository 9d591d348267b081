//! Socket diagnostics of a network namespace: whose a socket is, and cutting connections.
//!
//! `linux/sock_diag.h`, `linux/inet_diag.h`; the kernel's side is `net/ipv4/inet_diag.c`.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use rustix::net::netlink;

use crate::Error;
use crate::netlink::{Message, NLM_F_ACK, NLM_F_DUMP, Request, Socket, attribute};
use crate::netns::Netns;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const INET_DIAG_CGROUP_ID: u16 = 21;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;
const TIME_WAIT: u32 = 1 << 6;
/// All states but `TIME_WAIT` and LISTEN (10): what still carries, or may come to carry, data.
const CONNECTED_STATES: u32 = 0x0fff & !TIME_WAIT & !(1 << 10);
const ALL_STATES: u32 = u32::MAX;
const INET_DIAG_MSG: usize = 72;
/// Where `inet_diag_sockid` (48 bytes) is in `inet_diag_msg`.
const MESSAGE_ID: std::ops::Range<usize> = 4..52;
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// A channel to the socket diagnostics of one network namespace.
pub struct Diagnostics {
    socket: Mutex<Socket>,
    origin: String,
}

impl Diagnostics {
    /// Opens the channel inside the namespace; afterwards any thread may use it.
    pub fn open(netns: &Netns) -> Result<Self, Error> {
        let socket = netns.run(|| Socket::open(Some(netlink::SOCK_DIAG)))?.map_err(|error| {
            let doing = format!("opening socket diagnostics in {}", netns.origin());
            Error::syscall("socket(NETLINK_SOCK_DIAG)", doing, "the kernel needs CONFIG_INET_DIAG", error)
        })?;
        Ok(Self { socket: Mutex::new(socket), origin: netns.origin().to_owned() })
    }

    /// The cgroup of the process that created the socket at `client`, of the connection from there to `listener`.
    ///
    /// The answer is the id of its cgroup2 directory (the directory's inode number). `None` when the socket is gone, or
    /// is no socket of this namespace. A client may be an IPv6 socket that connected to an IPv4-mapped address: the
    /// kernel finds it under its IPv4 address, which is how the listener sees it.
    pub fn owner_cgroup(&self, client: SocketAddr, listener: SocketAddr) -> Result<Option<u64>, Error> {
        let (client, listener) = (canonical(client), canonical(listener));
        let id = socket_id(client, listener);
        let request = Request::new(SOCK_DIAG_BY_FAMILY, 0).fixed(&query(family(client), ALL_STATES, &id));
        let doing = || format!("asking who is connected from {client} in {}", self.origin);
        let answer = match self.socket().ask(request) {
            Ok(answer) => answer,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(Error::syscall("SOCK_DIAG_BY_FAMILY", doing(), HINT, error)),
        };
        Ok(answer.filter(|message| is_connection(message, &id)).and_then(|message| {
            let bytes = attribute(message.attributes(INET_DIAG_MSG), INET_DIAG_CGROUP_ID)?;
            bytes.first_chunk().map(|id| u64::from_ne_bytes(*id))
        }))
    }

    /// Cuts the TCP connections of this namespace whose remote end `is_doomed`; how many were cut.
    ///
    /// Each end in this namespace gets `ECONNABORTED`; the far end gets a reset. IPv4-mapped remote addresses are shown
    /// to `is_doomed` as IPv4.
    pub fn destroy(&self, is_doomed: impl Fn(SocketAddr) -> bool) -> Result<usize, Error> {
        let mut cut = 0;
        let mut socket = self.socket();
        for family in [AF_INET, AF_INET6] {
            let doing = |what: &str| format!("{what} the connections of {}", self.origin);
            let all = Request::new(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP).fixed(&query(family, CONNECTED_STATES, &[0; 48]));
            let messages = socket
                .dump(&all)
                .map_err(|error| Error::syscall("SOCK_DIAG_BY_FAMILY", doing("listing"), HINT, error))?;
            for message in messages {
                let Some((remote, id)) = remote(&message) else { continue };
                if !is_doomed(remote) {
                    continue;
                }
                let request = Request::new(SOCK_DESTROY, NLM_F_ACK).fixed(&query(family, ALL_STATES, &id));
                match socket.ask(request) {
                    Ok(_) => cut += 1,
                    Err(error) if is_gone(&error) => {}
                    Err(error) => {
                        let hint = "it needs CAP_NET_ADMIN and CONFIG_INET_DIAG_DESTROY";
                        return Err(Error::syscall("SOCK_DESTROY", doing("cutting"), hint, error));
                    }
                }
            }
        }
        Ok(cut)
    }

    /// The remote ends of this namespace's TCP connections, those that are being made and those that ended within a minute (`TIME_WAIT`) among them.
    /// IPv4-mapped addresses are shown as IPv4.
    pub fn remotes(&self) -> Result<Vec<SocketAddr>, Error> {
        let mut remotes = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let all = Request::new(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP).fixed(&query(
                family,
                CONNECTED_STATES | TIME_WAIT,
                &[0; 48],
            ));
            let messages = self.socket().dump(&all).map_err(|error| {
                let doing = format!("listing the connections of {}", self.origin);
                Error::syscall("SOCK_DIAG_BY_FAMILY", doing, HINT, error)
            })?;
            remotes.extend(messages.iter().filter_map(remote).map(|(remote, _)| remote));
        }
        Ok(remotes)
    }

    fn socket(&self) -> std::sync::MutexGuard<'_, Socket> {
        // Every question has its own number, so what a panic left unread is skipped.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const HINT: &str = "the kernel needs CONFIG_INET_TCP_DIAG";

/// `inet_diag_req_v2`.
fn query(family: u8, states: u32, id: &[u8; 48]) -> [u8; 56] {
    let mut request = [0; 56];
    request[0] = family;
    request[1] = TCP;
    request[4..8].copy_from_slice(&states.to_ne_bytes());
    request[8..].copy_from_slice(id);
    request
}

/// `inet_diag_sockid` of the socket at `local` that is connected to `remote`, in whatever incarnation.
fn socket_id(local: SocketAddr, remote: SocketAddr) -> [u8; 48] {
    let mut id = [0; 48];
    id[0..2].copy_from_slice(&local.port().to_be_bytes());
    id[2..4].copy_from_slice(&remote.port().to_be_bytes());
    put_address(&mut id[4..20], local.ip());
    put_address(&mut id[20..36], remote.ip());
    id[40..].copy_from_slice(&NO_COOKIE);
    id
}

fn put_address(field: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(v4) => field[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => field.copy_from_slice(&v6.octets()),
    }
}

/// Whether the answer is about the connection that was asked for. Where there is none, the kernel answers with a
/// *listener* on the local address, which may be anybody's.
fn is_connection(message: &Message, id: &[u8; 48]) -> bool {
    let Some(found) = message.payload.get(MESSAGE_ID) else { return false };
    let same_ports = found[0..4] == id[0..4];
    let as_asked = found[4..36] == id[4..36];
    let as_mapped = found[4..20] == mapped(&id[4..8]) && found[20..36] == mapped(&id[20..24]);
    same_ports && (as_asked || as_mapped)
}

fn mapped(v4: &[u8]) -> [u8; 16] {
    let mut address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    address[12..].copy_from_slice(v4);
    address
}

/// The remote end of a listed socket, and its id with the kernel's cookie in it: no other socket can be hit.
fn remote(message: &Message) -> Option<(SocketAddr, [u8; 48])> {
    let id: [u8; 48] = message.payload.get(MESSAGE_ID)?.try_into().ok()?;
    let port = u16::from_be_bytes([id[2], id[3]]);
    let address = if message.payload[0] == AF_INET {
        IpAddr::from(*id[20..].first_chunk::<4>()?)
    } else {
        Ipv6Addr::from(*id[20..].first_chunk::<16>()?).to_canonical()
    };
    Some((SocketAddr::new(address, port), id))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn family(address: SocketAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ENOENT)
}
