//! The veth's program where there is no tcx (before kernel 6.6): a filter of the clsact qdisc, in direct-action mode. Kernel 4.5.
//!
//! A filter belongs to its interface, not to a process: it needs no pin to stay, and goes when the interface goes.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use crate::{
    Error,
    netlink::{Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Request, Socket, attribute, number, text},
};

// linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h, linux/if_ether.h
const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const QDISC_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
const ETH_P_ALL: u16 = 3;

/// First. Of several filters of one priority, the newest runs first.
const PRIORITY: u32 = 1;
/// Ours among the filters of that priority: fixed, so that a later process finds it, and unlike the small numbers of others.
const HANDLE: u32 = 0x4547_0001;
/// Stands in for ours while that is put before another's.
const STAND_IN: u32 = 0x4547_0002;
/// `struct tcmsg`.
const TCMSG: usize = 20;

/// The filters on the interfaces of one network namespace.
pub(super) struct Clsact {
    socket: Socket,
}

/// A filter that somebody has attached.
struct Filter {
    handle: u32,
    /// A program's; empty where it is none.
    name: String,
}

impl Clsact {
    /// For the interfaces of the calling thread's network namespace, whoever uses it later.
    pub(super) fn open() -> Result<Self, Error> {
        let socket = Socket::open(None)
            .map_err(|error| Error::syscall("socket(NETLINK_ROUTE)", "opening rtnetlink for clsact", "", error))?;
        Ok(Self { socket })
    }

    /// Makes `program` the filter that the interface runs first; whether it wasn't. Meanwhile there is no instant without it, if
    /// it is still there.
    pub(super) fn put_first(&mut self, interface: u32, name: &str, program: BorrowedFd<'_>) -> Result<bool, Error> {
        let filters = self.filters(interface)?;
        let is_ours = |filter: &Filter| filter.handle == HANDLE && filter.name == name;
        if filters.first().is_some_and(is_ours) {
            return Ok(false);
        }
        match self.request(qdisc(interface)) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                return Err(failed("RTM_NEWQDISC", "adding clsact to", interface, error));
            }
            _ => {}
        }
        if filters.iter().any(is_ours) {
            self.delete(interface, STAND_IN)?;
            self.create(interface, STAND_IN, name, program)?;
        }
        // One that is only replaced keeps its place.
        self.delete(interface, HANDLE)?;
        self.create(interface, HANDLE, name, program)?;
        self.delete(interface, STAND_IN)?;
        Ok(true)
    }

    /// Makes the filter of an earlier process run `program` from now on, if it is there: an interface without one may be
    /// another pod's by now.
    pub(super) fn replace(&mut self, interface: u32, name: &str, program: BorrowedFd<'_>) -> Result<(), Error> {
        for handle in [HANDLE, STAND_IN] {
            match self.request(filter(interface, handle, name, program, 0)) {
                Err(error) if !is_gone(&error) => {
                    return Err(failed("RTM_NEWTFILTER", "replacing the clsact filter of", interface, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the filter, if it is there. The qdisc stays: others may have filters in it.
    pub(super) fn detach(&mut self, interface: u32) -> Result<(), Error> {
        self.delete(interface, HANDLE)?;
        self.delete(interface, STAND_IN)
    }

    /// The filters of the interface, as it runs them; none where there is no such interface, or no clsact.
    fn filters(&mut self, interface: u32) -> Result<Vec<Filter>, Error> {
        let question = Request::new(RTM_GETTFILTER, NLM_F_DUMP).fixed(&message(interface, 0, INGRESS, 0));
        let answers = self
            .socket
            .dump(&question)
            .map_err(|error| failed("RTM_GETTFILTER", "listing the clsact filters of", interface, error))?;
        Ok(answers.iter().filter_map(Filter::read).collect())
    }

    fn create(&mut self, interface: u32, handle: u32, name: &str, program: BorrowedFd<'_>) -> Result<(), Error> {
        self.request(filter(interface, handle, name, program, NLM_F_CREATE))
            .map_err(|error| failed("RTM_NEWTFILTER", "attaching a clsact filter to", interface, error))
    }

    fn delete(&mut self, interface: u32, handle: u32) -> Result<(), Error> {
        let request = Request::new(RTM_DELTFILTER, 0).fixed(&message(interface, handle, INGRESS, info()));
        match self.request(request.text(TCA_KIND, "bpf")) {
            Err(error) if !is_gone(&error) => {
                Err(failed("RTM_DELTFILTER", "removing the clsact filter of", interface, error))
            }
            _ => Ok(()),
        }
    }

    fn request(&mut self, request: Request) -> io::Result<()> {
        self.socket.ask(request.with_flags(NLM_F_ACK)).map(drop)
    }
}

impl Filter {
    /// A filter of the chain that packets begin with; the kernel lists them in the order in which it runs them.
    fn read(answer: &Message) -> Option<Self> {
        let list = answer.attributes(TCMSG);
        let handle = number(answer.payload.get(8..)?)?;
        let chain = attribute(list, TCA_CHAIN).and_then(number).unwrap_or(0);
        // Without a number it is the head of those that share priority and protocol.
        if answer.kind != RTM_NEWTFILTER || handle == 0 || chain != 0 {
            return None;
        }
        let name = attribute(list, TCA_OPTIONS).and_then(|options| attribute(options, TCA_BPF_NAME)).map(text);
        let is_program = attribute(list, TCA_KIND).map(text).as_deref() == Some("bpf");
        Some(Self { handle, name: name.filter(|_| is_program).unwrap_or_default() })
    }
}

fn qdisc(interface: u32) -> Request {
    Request::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL)
        .fixed(&message(interface, QDISC_HANDLE, TC_H_CLSACT, 0))
        .text(TCA_KIND, "clsact")
}

fn filter(interface: u32, handle: u32, name: &str, program: BorrowedFd<'_>, flags: u16) -> Request {
    Request::new(RTM_NEWTFILTER, flags).fixed(&message(interface, handle, INGRESS, info())).text(TCA_KIND, "bpf").nest(
        TCA_OPTIONS,
        |options| {
            options
                .attribute(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes())
                .text(TCA_BPF_NAME, name)
                .attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes())
        },
    )
}

/// Priority in the upper half, the protocol in network byte order in the lower.
fn info() -> u32 {
    PRIORITY << 16 | u32::from(ETH_P_ALL.to_be())
}

fn message(interface: u32, handle: u32, parent: u32, info: u32) -> [u8; TCMSG] {
    let mut bytes = [0; TCMSG];
    for (at, word) in [interface, handle, parent, info].into_iter().enumerate() {
        bytes[4 * (at + 1)..4 * (at + 2)].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// ENODEV: no such interface. EINVAL: it has no clsact. ENOENT: that has no such filter.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL | libc::ENOENT))
}

fn failed(call: &'static str, doing: &str, interface: u32, error: io::Error) -> Error {
    let hint = "does the interface still exist? The kernel needs CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF (modules \
                sch_ingress, cls_bpf); a filter of priority 1 and another kind than bpf keeps the guard's away";
    Error::syscall(call, format!("{doing} the interface {interface}"), hint, error)
}
