//! Generic netlink, as an administrator's tool would use it: one request, one acknowledgement.

use std::os::fd::OwnedFd;

use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

// linux/netlink.h, linux/genetlink.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const HEADERS: usize = 20;

/// A family's socket, in the network namespace that it was opened in.
pub(crate) struct Family {
    socket: OwnedFd,
    id: u16,
}

impl Family {
    /// `None` where this kernel has no such family.
    pub(crate) fn open(name: &str) -> Option<Self> {
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(GENERIC))
                .unwrap();
        let controller = Self { socket, id: GENL_ID_CTRL };
        let name = [name.as_bytes(), &[0]].concat();
        let answer = controller.send((CTRL_CMD_GETFAMILY, 2), 0, &attribute(CTRL_ATTR_FAMILY_NAME, &name));
        if u16::from_ne_bytes([answer[4], answer[5]]) == NLMSG_ERROR {
            return None;
        }
        let mut rest = &answer[HEADERS..];
        loop {
            let [length, kind] = [0, 2].map(|at| u16::from_ne_bytes([rest[at], rest[at + 1]]));
            if kind == CTRL_ATTR_FAMILY_ID {
                return Some(Self { id: u16::from_ne_bytes([rest[4], rest[5]]), ..controller });
            }
            rest = &rest[usize::from(length).next_multiple_of(4)..];
        }
    }

    /// The command and the family's version.
    pub(crate) fn ask(&self, command: (u8, u8), attributes: &[u8]) {
        let answer = self.send(command, NLM_F_ACK, attributes);
        assert_eq!(u16::from_ne_bytes([answer[4], answer[5]]), NLMSG_ERROR);
        let code = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
        assert_eq!(code, 0, "{}", std::io::Error::from_raw_os_error(-code));
    }

    fn send(&self, (command, version): (u8, u8), flags: u16, attributes: &[u8]) -> Vec<u8> {
        let mut message = u32::try_from(HEADERS + attributes.len()).unwrap().to_ne_bytes().to_vec();
        message.extend_from_slice(&self.id.to_ne_bytes());
        message.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(&[command, version, 0, 0]);
        message.extend_from_slice(attributes);
        rustix::net::sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
        let mut answer = vec![0; 8192];
        let (length, _) =
            rustix::io::retry_on_intr(|| rustix::net::recv(&self.socket, &mut answer[..], RecvFlags::empty())).unwrap();
        answer.truncate(length);
        answer
    }
}

/// One attribute, padded.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute of attributes.
pub(crate) fn nest(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, &attributes.concat())
}
