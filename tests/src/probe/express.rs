//! `AF_XDP`: frames from shared memory straight to the driver (kernel documentation, `networking/af_xdp`).

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use rustix::net::xdp::{SocketAddrXdp, SocketAddrXdpFlags, XdpDesc, XdpDescOptions, XdpMmapOffsets};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use std::os::fd::OwnedFd;

use super::interface::Interface;
use super::option;

const SLOT: u64 = 2048;
const SLOTS: u32 = 64;
// linux/if_xdp.h: where each ring is mapped, and the names of the options.
const TRANSMIT_RING: i64 = 0x8000_0000;
const XDP_TX_RING: i32 = 3;
const XDP_UMEM_REG: i32 = 4;
const XDP_UMEM_FILL_RING: i32 = 5;
const XDP_UMEM_COMPLETION_RING: i32 = 6;

/// A socket that only sends. Completions are never read: one try sends fewer frames than there are slots.
pub(super) struct Express {
    socket: OwnedFd,
    memory: NonNull<u8>,
    ring: NonNull<u8>,
    offsets: XdpMmapOffsets,
    sent: u32,
}

impl Express {
    #[allow(unsafe_code)]
    pub(super) fn open(interface: &Interface) -> io::Result<Self> {
        let socket = rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let bytes = SLOT * u64::from(SLOTS);
        let length = NonZeroUsize::new(usize::try_from(bytes).expect("128 KiB")).expect("not 0");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice, never unmapped: the probe ends with its one try.
        let memory = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }?;
        let address = memory.as_ptr() as u64;
        // struct xdp_umem_reg: address, length, chunk size and headroom (two words), flags and metadata length (two words).
        option::set(&socket, libc::SOL_XDP, XDP_UMEM_REG, [address, bytes, SLOT, 0])?;
        for ring in [XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING] {
            option::set(&socket, libc::SOL_XDP, ring, [SLOTS])?;
        }
        let offsets = rustix::net::sockopt::xdp_mmap_offsets(&socket)?;
        let size = offsets.tx.desc + u64::from(SLOTS) * size_of::<XdpDesc>() as u64;
        let length = NonZeroUsize::new(usize::try_from(size).expect("small")).expect("not 0");
        // SAFETY: as above, and a shared mapping of the ring.
        let ring = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &socket, TRANSMIT_RING) }?;
        let index = u32::try_from(interface.index).map_err(io::Error::other)?;
        rustix::net::bind(&socket, &SocketAddrXdp::new(SocketAddrXdpFlags::XDP_COPY, index, 0))?;
        Ok(Self { socket, memory: memory.cast(), ring: ring.cast(), offsets, sent: 0 })
    }

    #[allow(unsafe_code)]
    pub(super) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let slot = self.sent % SLOTS;
        if frame.len() as u64 > SLOT || self.sent >= SLOTS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let at = u64::from(slot) * SLOT;
        let part = |offset: u64| usize::try_from(offset).expect("within the mapping");
        // SAFETY: the slot lies in the memory, the descriptor in the ring, both mapped and aligned as the kernel laid them out;
        // the producer's index, written last with release, hands both over.
        unsafe {
            self.memory.add(part(at)).copy_from_nonoverlapping(NonNull::from(frame).cast(), frame.len());
            let descriptor = self.ring.add(part(self.offsets.tx.desc)).cast::<XdpDesc>().add(slot as usize);
            descriptor.write(XdpDesc {
                addr: at,
                len: u32::try_from(frame.len()).expect("below SLOT"),
                options: XdpDescOptions::empty(),
            });
            let producer = AtomicU32::from_ptr(self.ring.add(part(self.offsets.tx.producer)).cast().as_ptr());
            producer.store(self.sent + 1, Ordering::Release);
        }
        self.sent += 1;
        rustix::net::send(self.socket.as_fd(), &[], SendFlags::DONTWAIT)?;
        Ok(())
    }
}
