//! Somebody to answer, for what the API server doesn't speak: so that a try that is let through is seen to arrive.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::NodeNetns;

/// How often a listener looks whether it is still wanted.
const TURN: Duration = Duration::from_millis(100);

/// Answers until dropped.
pub struct Echo {
    stop: Arc<AtomicBool>,
}

impl Echo {
    /// UDP: each datagram goes back.
    #[track_caller]
    pub fn udp(netns: &NodeNetns, at: SocketAddr) -> Self {
        Self::datagrams(netns, at, Protocol::UDP)
    }

    /// UDP-Lite: each datagram goes back.
    #[track_caller]
    pub fn udp_lite(netns: &NodeNetns, at: SocketAddr) -> Self {
        Self::datagrams(netns, at, Protocol::from(libc::IPPROTO_UDPLITE))
    }

    #[track_caller]
    fn datagrams(netns: &NodeNetns, at: SocketAddr, protocol: Protocol) -> Self {
        let socket = netns.run(move || -> std::io::Result<UdpSocket> {
            let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(protocol))?;
            socket.bind(&at.into())?;
            socket.set_read_timeout(Some(TURN))?;
            Ok(socket.into())
        });
        let socket = socket.unwrap_or_else(|error| panic!("listening at {at}: {error}"));
        Self::serve(move || {
            let mut datagram = [0; 2048];
            if let Ok((length, from)) = socket.recv_from(&mut datagram) {
                // Whoever asked may be gone.
                let _ = socket.send_to(&datagram[..length], from);
            }
        })
    }

    /// TCP: each connection gets a line that names the listener.
    #[track_caller]
    pub fn tcp(netns: &NodeNetns, at: SocketAddr) -> Self {
        let listener = netns.run(move || TcpListener::bind(at));
        let listener = listener.unwrap_or_else(|error| panic!("listening at {at}: {error}"));
        listener.set_nonblocking(true).expect("a socket option");
        Self::serve(move || match listener.accept() {
            Ok((mut stream, _)) => drop(writeln!(stream, "decoy at {at}")),
            Err(_) => std::thread::sleep(TURN),
        })
    }

    fn serve(mut turn: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                turn();
            }
        });
        Self { stop }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
