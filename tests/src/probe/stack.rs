//! TCP of the probe's own, over frames of its own: what reaches the API server this way has passed nothing of the pod's kernel.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smoltcp::iface::{Config, Interface as Stacked, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::interface::{Interface, free_port};
use super::link::Link;
use super::patience::patient;
use std::os::fd::AsFd;

/// A TCP connection; every call ends by the deadline.
pub(super) struct Connection {
    link: Link,
    stack: Stacked,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    deadline: Instant,
    _quiet: Option<Quiet>,
}

impl Connection {
    /// Connects from `source`, which is the pod's own address or another.
    pub(super) fn open(
        interface: &Interface,
        mut link: Link,
        source: IpAddr,
        to: SocketAddr,
        limit: Duration,
    ) -> io::Result<Self> {
        let own = interface.address_towards(to.ip())?;
        let port = free_port(own)?;
        let quiet = (source == own).then(|| Quiet::keep(source, to.ip(), port)).transpose()?;
        let mut config = Config::new(EthernetAddress(interface.mac).into());
        config.random_seed = u64::from(port) << 32 | u64::from(std::process::id());
        let mut stack = Stacked::new(config, &mut link, smoltcp::time::Instant::now());
        let prefix = if source.is_ipv4() { 24 } else { 64 };
        stack.update_ip_addrs(|addresses| {
            // The pod's own comes first: neighbours are asked in its name, whatever the source of the connection.
            for address in std::iter::once(own).chain((source != own).then_some(source)) {
                addresses.push(IpCidr::new(address.into(), prefix)).expect("there is room for two");
            }
        });
        let full = "there is room for two routes";
        match (source, interface.gateway4, interface.gateway6) {
            (IpAddr::V4(_), Some(gateway), _) => drop(stack.routes_mut().add_default_ipv4_route(gateway).expect(full)),
            (IpAddr::V6(_), _, Some(gateway)) => drop(stack.routes_mut().add_default_ipv6_route(gateway).expect(full)),
            _ => return Err(io::Error::other(format!("no default route towards {to}"))),
        }
        let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 16]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.connect(stack.context(), to, (source, port)).map_err(|error| io::Error::other(error.to_string()))?;
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        let mut connection = Self { link, stack, sockets, handle, deadline: Instant::now() + limit, _quiet: quiet };
        connection.until(|socket| match socket.state() {
            tcp::State::Established => Some(Ok(())),
            tcp::State::Closed => Some(Err(io::ErrorKind::ConnectionRefused.into())),
            _ => None,
        })?;
        Ok(connection)
    }

    /// Serves the stack until `ready` has an answer.
    fn until<T>(&mut self, mut ready: impl FnMut(&mut tcp::Socket<'static>) -> Option<io::Result<T>>) -> io::Result<T> {
        loop {
            self.stack.poll(smoltcp::time::Instant::now(), &mut self.link, &mut self.sockets);
            if let Some(error) = self.link.error.take() {
                return Err(error);
            }
            if let Some(result) = ready(self.sockets.get_mut(self.handle)) {
                // What was asked for may have to go out at once.
                self.stack.poll(smoltcp::time::Instant::now(), &mut self.link, &mut self.sockets);
                return result;
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let next = self.stack.poll_delay(smoltcp::time::Instant::now(), &self.sockets);
            let wait = next.map_or(left, |next| left.min(next.into())).max(Duration::from_millis(1));
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::from(100_u16));
            patient(|| Ok(poll(&mut [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)], timeout)?))?;
        }
    }
}

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.until(|socket| {
            if socket.can_recv() {
                return Some(socket.recv_slice(into).map_err(|error| io::Error::other(error.to_string())));
            }
            (!socket.may_recv()).then_some(Ok(0))
        })
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until(|socket| {
            if socket.can_send() {
                return Some(socket.send_slice(bytes).map_err(|error| io::Error::other(error.to_string())));
            }
            (!socket.may_send()).then(|| Err(io::ErrorKind::ConnectionReset.into()))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the pod's kernel from resetting a connection that it knows nothing of: a routing rule swallows what it would answer.
struct Quiet(Vec<String>);

impl Quiet {
    fn keep(source: IpAddr, to: IpAddr, port: u16) -> io::Result<Self> {
        let family = if source.is_ipv4() { "-4" } else { "-6" };
        let rule = format!("from {source} to {to} ipproto tcp sport {port} type blackhole");
        let rule: Vec<String> =
            std::iter::once(family).chain(["rule"]).chain(rule.split(' ')).map(str::to_owned).collect();
        let quiet = Self(rule);
        quiet.run("add")?;
        Ok(quiet)
    }

    fn run(&self, verb: &str) -> io::Result<()> {
        let mut arguments = self.0.clone();
        arguments.insert(2, verb.to_owned());
        let output = Command::new("ip").args(&arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The pod, and its rules, end with the test.
        let _ = self.run("del");
    }
}
