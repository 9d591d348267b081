//! `AF_PACKET`: frames past the pod's own stack and every cgroup hook (packet(7)).

use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::interface::Interface;
use super::option;

// linux/if_packet.h
const PACKET_VERSION: i32 = 10;
const PACKET_TX_RING: i32 = 13;
const PACKET_QDISC_BYPASS: i32 = 20;
const TPACKET_V2: i32 = 1;
const TP_STATUS_AVAILABLE: u32 = 0;
const TP_STATUS_SEND_REQUEST: u32 = 1;
/// `sizeof(struct tpacket2_hdr)`, aligned: where a frame's bytes begin in a slot to be sent.
const HEADER: usize = 32;
/// Larger than any frame with segments merged (GRO).
const LARGEST: usize = 1 << 17;

/// A packet socket bound to the pod's interface.
pub(super) struct PacketSocket {
    socket: Socket,
    index: i32,
}

impl PacketSocket {
    /// Takes and gives whole Ethernet frames.
    pub(super) fn raw(interface: &Interface) -> io::Result<Self> {
        Self::open(interface, Type::RAW)
    }

    /// Takes packets; the kernel writes the Ethernet header.
    pub(super) fn cooked(interface: &Interface) -> io::Result<Self> {
        Self::open(interface, Type::DGRAM)
    }

    fn open(interface: &Interface, kind: Type) -> io::Result<Self> {
        // ETH_P_ALL in network byte order.
        let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(0x0300)))?;
        socket.bind(&link_address(interface.index, 0x0003, [0; 6]))?;
        Ok(Self { socket, index: interface.index })
    }

    /// From now on frames go to the driver without a queueing discipline, and so past every tc program of the pod's own.
    pub(super) fn bypass_queueing(&self) -> io::Result<()> {
        option::set(&self.socket, libc::SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// The packet of an Ethernet frame, its header left to the kernel.
    pub(super) fn send_cooked(&self, frame: &[u8]) -> io::Result<()> {
        let to: [u8; 6] = frame[..6].try_into().expect("six bytes");
        let protocol = u16::from_be_bytes([frame[12], frame[13]]);
        self.socket.send_to(&frame[14..], &link_address(self.index, protocol, to)).map(drop)
    }

    /// The next frame, or `None` if there is none now.
    pub(super) fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); LARGEST];
        match self.socket.recv_with_flags(&mut buffer, libc::MSG_DONTWAIT) {
            Ok(length) => Ok(Some(initialised(&buffer[..length]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `struct sockaddr_ll`. `protocol` in host byte order.
#[allow(unsafe_code)]
fn link_address(index: i32, protocol: u16, mac: [u8; 6]) -> SockAddr {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&mac);
    let link = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("17"),
        sll_protocol: protocol.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: address,
    };
    // SAFETY: sockaddr_storage is large and aligned enough for every address (RFC 3493 section 3.10); it is zeroed, and the
    // length is what was written.
    unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(link);
            *length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("20");
            Ok(())
        })
    }
    .expect("the closure never fails")
    .1
}

#[allow(unsafe_code)]
fn initialised(bytes: &[MaybeUninit<u8>]) -> Vec<u8> {
    // SAFETY: the kernel wrote these bytes: the slice ends where `recv` said.
    bytes.iter().map(|byte| unsafe { byte.assume_init() }).collect()
}

/// `PACKET_TX_RING`: frames in memory that the kernel maps into packets. Only their first bytes become the packet's linear part.
pub(super) struct TransmitRing {
    socket: PacketSocket,
    slots: NonNull<u8>,
    next: usize,
}

impl TransmitRing {
    const SLOT: usize = 2048;
    const SLOTS: usize = 32;
    const BLOCK: usize = 4096;

    #[allow(unsafe_code)]
    pub(super) fn open(interface: &Interface) -> io::Result<Self> {
        let socket = PacketSocket::raw(interface)?;
        option::set(&socket, libc::SOL_PACKET, PACKET_VERSION, TPACKET_V2)?;
        let bytes = Self::SLOT * Self::SLOTS;
        // struct tpacket_req: block size, blocks, frame size, frames.
        let request =
            [Self::BLOCK, bytes / Self::BLOCK, Self::SLOT, Self::SLOTS].map(|n| u32::try_from(n).expect("small"));
        option::set(&socket, libc::SOL_PACKET, PACKET_TX_RING, request)?;
        let length = NonZeroUsize::new(bytes).expect("not 0");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new shared mapping of the ring, at an address of the kernel's choice. It is never unmapped: the probe ends
        // with its one try.
        let slots = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &socket, 0) }?;
        Ok(Self { socket, slots: slots.cast(), next: 0 })
    }

    #[allow(unsafe_code)]
    pub(super) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if frame.len() > Self::SLOT - HEADER {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = u32::try_from(frame.len()).expect("below the slot's size");
        // SAFETY: `next` is below SLOTS, so the slot lies in the mapping, aligned for words as slots are multiples of 2048. The
        // kernel reads it only after the status says so (the write below), and a blocking send returns once it has.
        unsafe {
            let slot = self.slots.add(self.next * Self::SLOT);
            let status = slot.cast::<u32>();
            if status.read_volatile() != TP_STATUS_AVAILABLE {
                return Err(io::Error::other("the ring's slot was not sent: malformed frame"));
            }
            status.add(1).write_volatile(length);
            slot.add(HEADER).copy_from_nonoverlapping(NonNull::from(frame).cast(), frame.len());
            status.write_volatile(TP_STATUS_SEND_REQUEST);
        }
        self.next = (self.next + 1) % Self::SLOTS;
        self.socket.send(&[])
    }
}
