//! Reports of refused packets, through NFLOG.
//!
//! Reports may be lost when they come faster than they are read; the counters of the table miss nothing.
//! `linux/netfilter/nfnetlink_log.h`.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::net::{RecvFlags, netlink, sockopt};

use crate::Error;
use crate::netlink::{Message, NLM_F_ACK, Request, Socket, attribute, text};
use crate::netns::Netns;

use super::message::NFGENMSG;
use super::ruleset::REPORTED_BYTES;
use super::{Options, packet};

const NFULNL_MSG_PACKET: u16 = 4 << 8;
const NFULNL_MSG_CONFIG: u16 = 4 << 8 | 1;
const NFULNL_CFG_CMD_BIND: u8 = 1;
const NFULNL_COPY_PACKET: u8 = 2;
const NFULNL_CFG_F_SEQ: u16 = 1;
const NFULA_CFG_CMD: u16 = 1;
const NFULA_CFG_MODE: u16 = 2;
const NFULA_CFG_TIMEOUT: u16 = 4;
const NFULA_CFG_FLAGS: u16 = 6;
const NFULA_PACKET_HDR: u16 = 1;
const NFULA_PAYLOAD: u16 = 9;
const NFULA_PREFIX: u16 = 10;
const NFULA_SEQ: u16 = 12;

/// Packets wait at most this long, in 1/100 s, to share a datagram with others.
const GATHER: u32 = 5;
/// Some 10,000 reports.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Where on its way through the host a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Delivered to the host itself.
    Input,
    /// On its way to another host or namespace.
    Forward,
    /// Sent on by the host itself (IPVS).
    Output,
}

/// A packet from a workload that the table dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The workload's address.
    pub source: IpAddr,
    /// After any rewriting (DNAT).
    pub destination: IpAddr,
    /// The destination port; absent for a protocol without ports.
    pub port: Option<u16>,
    /// The IP protocol number.
    pub protocol: u8,
    /// Where it was dropped.
    pub hook: Hook,
}

/// The reader of a table's reports. Never blocks: wait for readability of its descriptor
/// (`tokio::io::unix::AsyncFd`), then [`Reports::read`] until it says `WouldBlock`.
pub struct Reports {
    socket: Socket,
    prefix: String,
    next: u32,
    lost: u64,
}

impl Reports {
    pub(super) fn open(host: &Netns, options: &Options) -> Result<Self, Error> {
        let group = options.log_group;
        let socket = host.run(|| subscribe(group))?.map_err(|error| {
            let hint = "another process may read this NFLOG group (/proc/net/netfilter/nfnetlink_log): configure another \
                        number; it needs CAP_NET_ADMIN and CONFIG_NETFILTER_NETLINK_LOG";
            Error::syscall("NFULNL_MSG_CONFIG", format!("reading NFLOG group {group}"), hint, error)
        })?;
        Ok(Self { socket, prefix: options.table.clone(), next: 0, lost: 0 })
    }

    /// The reports of one datagram, at least none; `WouldBlock` when there is no datagram.
    pub fn read(&mut self) -> io::Result<Vec<Refused>> {
        loop {
            match self.socket.receive(RecvFlags::DONTWAIT) {
                Ok(messages) => return Ok(messages.iter().filter_map(|message| self.report(message)).collect()),
                // The buffer was full. The gap in the numbers says how many were lost.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How many reports are known to have been lost. It lags until the next report arrives.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn report(&mut self, message: &Message) -> Option<Refused> {
        if message.kind != NFULNL_MSG_PACKET {
            return None;
        }
        let list = message.attributes(NFGENMSG);
        if let Some(bytes) = attribute(list, NFULA_SEQ).and_then(<[u8]>::first_chunk) {
            let number = u32::from_be_bytes(*bytes);
            self.lost += u64::from(number.wrapping_sub(self.next));
            self.next = number.wrapping_add(1);
        }
        if attribute(list, NFULA_PREFIX).map(text)? != self.prefix {
            return None;
        }
        let hook = match attribute(list, NFULA_PACKET_HDR)?.get(2)? {
            1 => Hook::Input,
            2 => Hook::Forward,
            3 => Hook::Output,
            _ => return None,
        };
        let packet::Header { source, destination, protocol, port } = packet::parse(attribute(list, NFULA_PAYLOAD)?)?;
        Some(Refused { source, destination, port, protocol, hook })
    }
}

impl AsFd for Reports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Reports {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }
}

fn subscribe(group: u16) -> io::Result<Socket> {
    let mut socket = Socket::open(Some(netlink::NETFILTER))?;
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
    let [high, low] = group.to_be_bytes();
    let config = || Request::new(NFULNL_MSG_CONFIG, NLM_F_ACK).fixed(&[0, 0, high, low]);
    socket.ask(config().attribute(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]))?;
    let mut mode = [0; 6];
    mode[..4].copy_from_slice(&REPORTED_BYTES.to_be_bytes());
    mode[4] = NFULNL_COPY_PACKET;
    socket.ask(
        config()
            .attribute(NFULA_CFG_MODE, &mode)
            .number(NFULA_CFG_TIMEOUT, GATHER)
            .attribute(NFULA_CFG_FLAGS, &NFULNL_CFG_F_SEQ.to_be_bytes()),
    )?;
    Ok(socket)
}
