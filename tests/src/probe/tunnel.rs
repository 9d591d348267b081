//! A tun device: the pod's own kernel forwards what is written there, as a router would.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::Command;

const NAME: &str = "probe0";
// linux/if_tun.h
const IFF_TUN: i16 = 0x0001;
const IFF_NO_PI: i16 = 0x1000;

/// The program's end of the device.
pub(super) struct Tunnel(File);

impl Tunnel {
    /// The device is up afterwards, and `source` lies behind it; whether the pod forwards is up to whoever sets `ip_forward`.
    #[allow(unsafe_code)]
    pub(super) fn open(source: IpAddr) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        let mut request = [0_u8; 40];
        request[..NAME.len()].copy_from_slice(NAME.as_bytes());
        request[16..18].copy_from_slice(&(IFF_TUN | IFF_NO_PI).to_ne_bytes());
        // SAFETY: `struct ifreq` is 40 bytes: a name of 16, then a union whose first member is the flags (netdevice(7)). The
        // kernel reads and writes within them, during the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let source = source.to_string();
        for arguments in [["link", "set", NAME, "up"].as_slice(), &["route", "replace", &source, "dev", NAME]] {
            let status = Command::new("ip").args(arguments).status()?;
            if !status.success() {
                return Err(io::Error::other(format!("ip {} ended with {status}", arguments.join(" "))));
            }
        }
        Ok(Self(file))
    }

    pub(super) fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        self.0.write_all(packet)
    }
}
