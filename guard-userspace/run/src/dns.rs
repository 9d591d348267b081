//! Resolvers that listen on the host's own loopback, such as systemd's at 127.0.0.53, reached from the command's network.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use guard_kernel::netns::Netns;
use tokio::net;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::Error;

const PORT: u16 = 53;
/// Questions under way at once; more are dropped, as by any resolver that is full.
const QUESTIONS: usize = 256;
/// A resolver answers in five seconds, or the client asks again.
const ANSWER: Duration = Duration::from_secs(10);
/// Of a question or an answer over UDP.
const LARGEST: usize = 65_535;

/// Listens where the host's resolver does, in the command's namespace.
pub struct Relay {
    resolver: SocketAddr,
    udp: net::UdpSocket,
    tcp: net::TcpListener,
}

/// The resolvers of a `resolv.conf` that are on a loopback.
pub fn on_loopback(resolv_conf: &str) -> Vec<IpAddr> {
    let servers = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok())?
    });
    servers.filter(IpAddr::is_loopback).collect()
}

impl Relay {
    /// Opens the sockets. Call it in a runtime.
    pub fn open(netns: &Netns, resolver: IpAddr) -> Result<Self, Error> {
        let resolver = SocketAddr::new(resolver, PORT);
        let open = || -> io::Result<_> {
            let (udp, tcp) = (UdpSocket::bind(resolver)?, TcpListener::bind(resolver)?);
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok((udp, tcp))
        };
        let failed = |error| Error::step("listening for questions to the host's resolver", "", error);
        let (udp, tcp) = netns.run(open)?.map_err(failed)?;
        let udp = net::UdpSocket::from_std(udp).map_err(failed)?;
        Ok(Self { resolver, udp, tcp: net::TcpListener::from_std(tcp).map_err(failed)? })
    }

    /// Passes questions and answers on until dropped.
    pub async fn run(self) {
        let (udp, resolver) = (Arc::new(self.udp), self.resolver);
        let places = Arc::new(Semaphore::new(QUESTIONS));
        let datagrams = async {
            let mut question = vec![0; LARGEST];
            loop {
                let Ok((length, client)) = udp.recv_from(&mut question).await else { continue };
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let (udp, question) = (Arc::clone(&udp), question[..length].to_vec());
                tokio::spawn(async move {
                    if let Ok(Ok(answer)) = timeout(ANSWER, ask(resolver, &question)).await {
                        // The client may be gone.
                        let _ = udp.send_to(&answer, client).await;
                    }
                    drop(place);
                });
            }
        };
        let streams = async {
            loop {
                let Ok((mut client, _)) = self.tcp.accept().await else { continue };
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                tokio::spawn(async move {
                    if let Ok(mut server) = net::TcpStream::connect(resolver).await {
                        let copied = tokio::io::copy_bidirectional(&mut client, &mut server);
                        let _ = timeout(ANSWER, copied).await;
                    }
                    drop(place);
                });
            }
        };
        tokio::join!(datagrams, streams);
    }
}

async fn ask(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if resolver.is_ipv4() { ([127, 0, 0, 1], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = net::UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; LARGEST];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_of_the_host_itself_are_told_from_others() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\nsearch local\noptions edns0\n";
        let expected: [IpAddr; 2] = ["127.0.0.53".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(on_loopback(text), expected);
    }
}
