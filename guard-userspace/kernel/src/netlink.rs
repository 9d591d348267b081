//! Netlink, as much of it as this crate speaks: requests of nested attributes, their answers, dumps and batches.
//!
//! One small codec serves rtnetlink, socket diagnostics and nfnetlink alike. Formats: `linux/netlink.h`, RFC 3549.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
/// A dump that a change in the kernel has made inconsistent: ask again.
const NLM_F_DUMP_INTR: u16 = 0x10;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;

/// Datagrams from the kernel are at most 32 KiB (`netlink_dump`), log batches at most 64 KiB.
const RECEIVE_BYTES: usize = 128 * 1024;
/// Room for a batch with tens of thousands of set elements; the default, 208 KiB, holds about three thousand.
const SEND_BYTES: usize = 8 * 1024 * 1024;
/// The kernel answers while it handles the request, so a wait at all is a sign of trouble.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const DUMP_ATTEMPTS: usize = 10;

/// A request under construction: header, fixed part, attributes.
#[derive(Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of the message type `kind`.
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        Self { bytes }
    }

    /// Adds header flags.
    pub(crate) fn with_flags(mut self, flags: u16) -> Self {
        let before = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]);
        self.bytes[6..8].copy_from_slice(&(before | flags).to_ne_bytes());
        self
    }

    /// Appends the fixed structure that follows the header in this kind of message.
    pub(crate) fn fixed(mut self, structure: &[u8]) -> Self {
        self.bytes.extend_from_slice(structure);
        self.pad()
    }

    /// Appends one attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = attribute_length(value.len());
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad()
    }

    /// Appends a string with the NUL that netlink strings end in.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends a number in network byte order, as nfnetlink wants them.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an attribute that holds the attributes which `inner` appends.
    pub(crate) fn nest(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        let mut whole = inner(self);
        let length = attribute_length(whole.bytes.len() - start - ATTRIBUTE_HEADER);
        whole.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        whole
    }

    fn pad(mut self) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    fn number_as(&mut self, sequence: u32) {
        let length = u32::try_from(self.bytes.len()).expect("a request is far below 4 GiB");
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

fn attribute_length(value: usize) -> u16 {
    u16::try_from(value + ATTRIBUTE_HEADER).expect("an attribute is below 64 KiB: long lists are sent in pieces")
}

/// One message from the kernel.
pub(crate) struct Message {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    /// All that follows the netlink header.
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// The attributes behind a fixed structure of `fixed` bytes.
    pub(crate) fn attributes(&self, fixed: usize) -> &[u8] {
        self.payload.get(fixed..).unwrap_or_default()
    }

    /// The outcome that an `NLMSG_ERROR` or `NLMSG_DONE` message carries.
    fn outcome(&self) -> io::Result<()> {
        match self.payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
            Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            _ => Ok(()),
        }
    }
}

/// The attributes in `bytes`; what is cut short ends the sequence.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(rest.get(2..)?.first_chunk().copied()?) & NLA_TYPE_MASK;
        let value = rest.get(ATTRIBUTE_HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of that kind.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A number of the machine's byte order at the start of an attribute.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Text up to its NUL.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A netlink socket of the network namespace in which it was opened, whatever thread uses it.
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread. No protocol (0) is rtnetlink.
    pub(crate) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        sockopt::set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Sends one request; its answer, or `None` where the kernel only acknowledges.
    pub(crate) fn ask(&mut self, request: Request) -> io::Result<Option<Message>> {
        let sequence = self.send(vec![request])?;
        loop {
            for message in self.receive(RecvFlags::empty())? {
                if message.sequence != sequence {
                    continue;
                }
                if message.kind == NLMSG_ERROR {
                    return message.outcome().map(|()| None);
                }
                return Ok(Some(message));
            }
        }
    }

    /// All messages of a dump, from one consistent view where the kernel can tell.
    pub(crate) fn dump(&mut self, request: &Request) -> io::Result<Vec<Message>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(messages) = self.dump_once(request.clone())? {
                return Ok(messages);
            }
        }
        Err(io::Error::from(rustix::io::Errno::INTR))
    }

    fn dump_once(&mut self, request: Request) -> io::Result<Option<Vec<Message>>> {
        let sequence = self.send(vec![request])?;
        let mut found = Vec::new();
        let mut consistent = true;
        loop {
            for message in self.receive(RecvFlags::empty())? {
                if message.sequence != sequence {
                    continue;
                }
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                if matches!(message.kind, NLMSG_DONE | NLMSG_ERROR) {
                    message.outcome()?;
                    return Ok(consistent.then_some(found));
                }
                found.push(message);
            }
        }
    }

    /// Sends requests as one batch, of which the last but one asks for an acknowledgement (the last closes the batch);
    /// the first error of any of them, or success.
    pub(crate) fn transact(&mut self, requests: Vec<Request>) -> io::Result<()> {
        let count = u32::try_from(requests.len()).expect("a batch holds fewer than 2^32 messages");
        // The batch as a whole is large at times; raising the limit needs CAP_NET_ADMIN, and so does the batch.
        sockopt::set_socket_send_buffer_size_force(&self.fd, SEND_BYTES)?;
        let last = self.send(requests)?;
        let first = last.wrapping_sub(count - 1);
        let acknowledged = last.wrapping_sub(1);
        loop {
            for message in self.receive(RecvFlags::empty())? {
                if message.kind != NLMSG_ERROR || message.sequence.wrapping_sub(first) >= count {
                    continue;
                }
                message.outcome()?;
                if message.sequence == acknowledged {
                    return Ok(());
                }
            }
        }
    }

    /// Sends the requests in one datagram; the sequence number of the last.
    fn send(&mut self, requests: Vec<Request>) -> io::Result<u32> {
        let mut datagram = Vec::new();
        for mut request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            request.number_as(self.sequence);
            datagram.append(&mut request.bytes);
        }
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::io::retry_on_intr(|| rustix::net::sendto(&self.fd, &datagram, SendFlags::empty(), &kernel))?;
        Ok(self.sequence)
    }

    /// One datagram from the kernel, taken apart. Datagrams of other processes are left out.
    pub(crate) fn receive(&mut self, flags: RecvFlags) -> io::Result<Vec<Message>> {
        let (_, length, sender) = rustix::io::retry_on_intr(|| {
            rustix::net::recvfrom(&self.fd, &mut self.buffer[..], flags | RecvFlags::TRUNC)
        })?;
        let datagram = self.buffer.get(..length).ok_or(rustix::io::Errno::MSGSIZE)?;
        let from_kernel =
            sender.and_then(|any| SocketAddrNetlink::try_from(any).ok()).is_some_and(|sender| sender.pid() == 0);
        Ok(if from_kernel { messages(datagram) } else { Vec::new() })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn messages(datagram: &[u8]) -> Vec<Message> {
    let mut rest = datagram;
    let mut found = Vec::new();
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(payload) = rest.get(HEADER..length) else { break };
        found.push(Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            payload: payload.to_vec(),
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(mut request: Request) -> Vec<u8> {
        request.number_as(7);
        request.bytes
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bytes = sent(
            Request::new(18, NLM_F_ACK)
                .fixed(&[1, 2, 3, 4])
                .text(1, "eth0")
                .nest(2, |inner| inner.number(3, 0x0a0b_0c0d).attribute(4, &[9]))
                .attribute(5, &[]),
        );
        let decoded = messages(&bytes);
        assert_eq!(decoded.len(), 1);
        let message = &decoded[0];
        assert_eq!((message.kind, message.flags, message.sequence), (18, NLM_F_ACK | NLM_F_REQUEST, 7));
        let list = message.attributes(4);
        assert_eq!(text(attribute(list, 1).unwrap()), "eth0");
        let nested = attribute(list, 2).unwrap();
        assert_eq!(attribute(nested, 3).unwrap(), [0x0a, 0x0b, 0x0c, 0x0d]);
        assert_eq!(attribute(nested, 4).unwrap(), [9]);
        assert_eq!(attribute(list, 5).unwrap(), [0_u8; 0]);
        assert!(attribute(list, 6).is_none());
    }

    #[test]
    fn every_cut_of_a_message_is_harmless() {
        let bytes = sent(Request::new(1, 0).fixed(&[0; 8]).text(1, "name").nest(2, |inner| inner.number(1, 1)));
        for end in 0..bytes.len() {
            assert!(messages(&bytes[..end]).is_empty());
            for start in 0..end {
                for (_, value) in attributes(&bytes[start..end]) {
                    assert!(value.len() < end - start);
                }
            }
        }
    }

    #[test]
    fn an_attribute_that_claims_no_length_ends_the_list() {
        assert_eq!(attributes(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[0xff, 0xff, 1, 0, 0, 0, 0, 0]).count(), 0);
    }

    #[test]
    fn a_message_that_claims_no_length_ends_the_datagram() {
        assert!(messages(&[0; 64]).is_empty());
    }
}
