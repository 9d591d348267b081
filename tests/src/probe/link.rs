//! The device under the stack in user space: frames go out by one carrier, dressed, and come in by a packet socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use clap::ValueEnum;
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use socket2::{Domain, Protocol, Socket, Type};

use super::dressing::Dresser;
use super::express::Express;
use super::interface::Interface;
use super::packet_socket::{PacketSocket, TransmitRing};
use super::tunnel::Tunnel;

/// Leaves room for an overlay's headers in a frame of 1514 bytes.
const LARGEST_FRAME: usize = 1414;
const ETHERNET: usize = 14;

/// How frames leave the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Carrier {
    /// `AF_PACKET`, `SOCK_RAW`.
    Packet,
    /// `AF_PACKET`, `SOCK_DGRAM`.
    Cooked,
    /// `AF_PACKET` with `PACKET_QDISC_BYPASS`.
    QdiscBypass,
    /// `AF_PACKET` with `PACKET_TX_RING`.
    TxRing,
    /// `SOCK_RAW` with a header of its own (`IP_HDRINCL`).
    RawIp,
    /// `AF_XDP`.
    Xdp,
    /// A tun device, and the pod's kernel forwards.
    Tun,
}

enum Sender {
    Packet(PacketSocket),
    Cooked(PacketSocket),
    Ring(TransmitRing),
    RawIp(Socket),
    Xdp(Express),
    Tun(Tunnel),
}

/// See the module.
pub(super) struct Link {
    /// Sends what is never dressed, too: neighbour discovery.
    packets: PacketSocket,
    sender: Sender,
    dresser: Dresser,
    /// The first error of the carrier.
    pub(super) error: Option<io::Error>,
}

impl Link {
    /// Connections come from `source`.
    pub(super) fn open(interface: &Interface, source: IpAddr, carrier: Carrier, dresser: Dresser) -> io::Result<Self> {
        let sender = match carrier {
            Carrier::Packet => Sender::Packet(PacketSocket::raw(interface)?),
            Carrier::Cooked => Sender::Cooked(PacketSocket::cooked(interface)?),
            Carrier::QdiscBypass => {
                let socket = PacketSocket::raw(interface)?;
                socket.bypass_queueing()?;
                Sender::Packet(socket)
            }
            Carrier::TxRing => Sender::Ring(TransmitRing::open(interface)?),
            Carrier::RawIp => {
                // IPPROTO_RAW implies IP_HDRINCL (raw(7)), on IPv6 too.
                Sender::RawIp(Socket::new(
                    Domain::for_address(SocketAddr::new(source, 0)),
                    Type::RAW,
                    Some(Protocol::from(libc::IPPROTO_RAW)),
                )?)
            }
            Carrier::Xdp => Sender::Xdp(Express::open(interface)?),
            Carrier::Tun => Sender::Tun(Tunnel::open(source)?),
        };
        Ok(Self { packets: PacketSocket::raw(interface)?, sender, dresser, error: None })
    }

    fn send(&mut self, frame: &[u8]) {
        let sent = match frame.get(12..14) {
            Some([0x08, 0x00]) if frame[ETHERNET + 9] == 6 => self.send_dressed(frame),
            Some([0x86, 0xdd]) if frame[ETHERNET + 6] == 6 => self.send_dressed(frame),
            _ => self.packets.send(frame),
        };
        if let Err(error) = sent {
            self.error.get_or_insert(error);
        }
    }

    fn send_dressed(&mut self, frame: &[u8]) -> io::Result<()> {
        self.dresser.dress(frame).iter().try_for_each(|frame| self.sender.send(frame))
    }
}

impl Sender {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match self {
            Self::Packet(socket) => socket.send(frame),
            Self::Cooked(socket) => socket.send_cooked(frame),
            Self::Ring(ring) => ring.send(frame),
            Self::RawIp(socket) => socket.send_to(&frame[ETHERNET..], &destination(frame).into()).map(drop),
            Self::Xdp(socket) => socket.send(frame),
            Self::Tun(tunnel) => tunnel.send(&frame[ETHERNET..]),
        }
    }
}

/// Where the IP header says that it goes.
fn destination(frame: &[u8]) -> SocketAddr {
    let packet = &frame[ETHERNET..];
    let address = if packet[0] >> 4 == 4 {
        IpAddr::from(<[u8; 4]>::try_from(&packet[16..20]).expect("four bytes"))
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&packet[24..40]).expect("sixteen bytes"))
    };
    SocketAddr::new(address, 0)
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packets.as_fd()
    }
}

impl Device for Link {
    type RxToken<'a> = Received;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, ToSend<'_>)> {
        match self.packets.receive() {
            Ok(frame) => Some((Received(frame?), ToSend(self))),
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }

    fn transmit(&mut self, _: Instant) -> Option<ToSend<'_>> {
        Some(ToSend(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = LARGEST_FRAME;
        // A veth leaves the checksums of local senders to a card that isn't there.
        let mut checksum = ChecksumCapabilities::default();
        checksum.ipv4 = Checksum::Tx;
        checksum.tcp = Checksum::Tx;
        capabilities.checksum = checksum;
        capabilities
    }
}

/// A frame that came in.
pub(super) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// A frame to be written.
pub(super) struct ToSend<'a>(&'a mut Link);

impl TxToken for ToSend<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.send(&frame);
        result
    }
}
