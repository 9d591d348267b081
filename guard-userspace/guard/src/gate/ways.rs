//! The ways to the control plane that this pod can try itself. Only the kernel's own refusal counts: silence, a reset and an answer all
//! mean that a packet went out.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, bail};

use super::guard::{Guard, connect};
use super::identity::Identity;

/// A datagram is refused, with and without connect.
pub(super) fn udp_is_refused(address: SocketAddr) -> Result<()> {
    let unspecified: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = match UdpSocket::bind((unspecified, 0)) {
        Ok(socket) => socket,
        // A pod without IPv6 has no way there over it.
        Err(error) if is_family_missing(&error) => return Ok(()),
        Err(error) => return Err(error).context("opening a UDP socket"),
    };
    let sent = socket.send_to(b"egress guard gate", address).map(|_| ());
    expect_refusal(sent, "UDP", address)?;
    expect_refusal(socket.connect(address), "connected UDP", address)
}

/// A connect is refused, or meets the guard.
pub(super) async fn tcp_is_closed(address: SocketAddr, guard: &Guard, identity: &Identity) -> Result<()> {
    match connect(address).await {
        Ok(tcp) => match guard.meet(tcp, identity).await {
            Ok(()) => Ok(()),
            Err(error) => bail!("open: TCP to {address}. Somebody else than the guard answers there ({error:#})"),
        },
        Err(error) if is_family_missing(&error) => Ok(()),
        Err(error) => expect_refusal(Err(error), "TCP", address),
    }
}

fn expect_refusal(outcome: io::Result<()>, way: &str, address: SocketAddr) -> Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => bail!(
            "open, or not proven closed: {way} to {address}. The kernel did not refuse it; it ended with: {error}"
        ),
        Ok(()) => bail!("open: {way} to {address}. The kernel let it pass"),
    }
}

/// There is no such protocol in this pod.
fn is_family_missing(error: &io::Error) -> bool {
    /// asm-generic/errno.h
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_refusal_is_proof() {
        let address = "192.0.2.1:443".parse().unwrap();
        assert!(expect_refusal(Err(ErrorKind::PermissionDenied.into()), "TCP", address).is_ok());
        for error in [ErrorKind::TimedOut, ErrorKind::ConnectionRefused, ErrorKind::NetworkUnreachable] {
            assert!(expect_refusal(Err(error.into()), "TCP", address).is_err(), "{error:?}");
        }
        let open = expect_refusal(Ok(()), "UDP", address).unwrap_err().to_string();
        assert!(open.contains("UDP to 192.0.2.1:443"), "{open}");
    }

    #[test]
    fn a_datagram_that_is_not_refused_is_an_open_way() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = udp_is_refused(receiver.local_addr().unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("open: UDP"), "{error}");
    }
}
