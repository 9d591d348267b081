//! A pod, a host and a server, each in a network namespace of its own, that go when the test ends.
//!
//! ```text
//! pod 10.9.0.2, fd09::2 ── 10.9.0.1, fd09::1 host 10.9.1.1, fd09:1::1 ── 10.9.1.2, fd09:1::2 server
//! ```

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use guard_kernel::interfaces::{self, Kind};
use guard_kernel::netns::Netns;

/// What the lab's host puts on every packet of the pod.
pub(crate) const POD_MARK: u32 = 0x300;

/// Tells the namespaces of one run apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Space {
    name: String,
    pub(crate) netns: Netns,
}

impl Space {
    pub(crate) fn new(role: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests make network namespaces: run them as root");
        let name = format!("guard-{}-{}-{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(&format!("ip netns add {name}"), "");
        let netns = Netns::open(format!("/run/netns/{name}")).unwrap();
        let space = Self { name, netns };
        // Addresses are unique by construction; looking for duplicates takes a second or two.
        space.write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
        // Nothing but what a test sends is to be counted.
        space.write("/proc/sys/net/ipv6/conf/default/router_solicitations", "0");
        space.ip("link set lo up");
        space
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn ip(&self, arguments: &str) {
        run(&format!("ip -n {} {arguments}", self.name), "");
    }

    pub(crate) fn tc(&self, arguments: &str) -> String {
        run(&format!("tc -n {} {arguments}", self.name), "")
    }

    pub(crate) fn nft(&self, script: &str) -> String {
        run(&format!("nsenter --net=/run/netns/{} nft -f -", self.name), script)
    }

    pub(crate) fn write(&self, path: &str, value: &str) {
        self.netns.run(|| std::fs::write(path, value)).unwrap().unwrap();
    }

    pub(crate) fn udp(&self, address: &str) -> UdpSocket {
        let socket = self.netns.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket
    }

    pub(crate) fn listen(&self, address: &str) -> TcpListener {
        self.netns.run(|| TcpListener::bind(address)).unwrap().unwrap()
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        self.netns.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(2))).unwrap()
    }

    /// The index of the interface of that name.
    pub(crate) fn index(&self, name: &str) -> u32 {
        let all = interfaces::list(&self.netns).unwrap();
        all.iter().find(|interface| interface.name == name).unwrap().index
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let deleted = Command::new("ip").args(["netns", "del", &self.name]).status();
        if !std::thread::panicking() {
            assert!(deleted.unwrap().success());
        }
    }
}

pub(crate) struct Lab {
    pub(crate) pod: Space,
    pub(crate) host: Space,
    pub(crate) server: Space,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { pod: Space::new("pod"), host: Space::new("host"), server: Space::new("server") };
        connect(
            (&lab.host, "to_pod", ["10.9.0.1/24", "fd09::1/64"]),
            (&lab.pod, "eth0", ["10.9.0.2/24", "fd09::2/64"]),
        );
        connect(
            (&lab.host, "to_server", ["10.9.1.1/24", "fd09:1::1/64"]),
            (&lab.server, "eth0", ["10.9.1.2/24", "fd09:1::2/64"]),
        );
        for (space, v4, v6) in [(&lab.pod, "10.9.0.1", "fd09::1"), (&lab.server, "10.9.1.1", "fd09:1::1")] {
            space.ip(&format!("route add default via {v4}"));
            space.ip(&format!("-6 route add default via {v6}"));
        }
        for space in [&lab.pod, &lab.host, &lab.server] {
            eventually("link-local addresses, so that neighbours answer", || {
                let veths = interfaces::list(&space.netns).unwrap().into_iter().filter(|one| one.kind == Kind::Veth);
                veths.into_iter().all(|one| one.addresses.iter().any(is_link_local)).then_some(())
            });
        }
        lab.host.write("/proc/sys/net/ipv4/ip_forward", "1");
        lab.host.write("/proc/sys/net/ipv6/conf/all/forwarding", "1");
        // tcx's mark, made by nft here; and what stands for kube-proxy: 8443 of the host is 6443 of the server.
        lab.host.nft(&format!(
            "table inet lab {{
                chain set_mark {{
                    type filter hook prerouting priority raw;
                    iifname to_pod meta mark set meta mark or {POD_MARK}
                }}
                chain rewrite {{
                    type nat hook prerouting priority dstnat;
                    ip daddr 10.9.0.1 meta l4proto {{ tcp, udp }} th dport 8443 dnat ip to 10.9.1.2:6443
                    ip6 daddr fd09::1 meta l4proto {{ tcp, udp }} th dport 8443 dnat ip6 to [fd09:1::2]:6443
                }}
            }}"
        ));
        lab
    }
}

fn connect(left: (&Space, &str, [&str; 2]), right: (&Space, &str, [&str; 2])) {
    left.0.ip(&format!("link add {} type veth peer name {} netns {}", left.1, right.1, right.0.name));
    for (space, interface, addresses) in [left, right] {
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            space.ip(&format!("addr add {address} dev {interface} {nodad}"));
        }
        space.ip(&format!("link set {interface} up"));
    }
}

/// A cgroup of the test's own, gone when it ends.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    pub(crate) fn new(name: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("cgroup2 is mounted");
        let root = PathBuf::from(mount.split(' ').nth(4).unwrap());
        let path = root.join(format!("guard-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn id(&self) -> u64 {
        std::fs::metadata(&self.0).unwrap().ino()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let end = Instant::now() + Duration::from_secs(5);
        while self.0.exists() && std::fs::remove_dir(&self.0).is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Ends what another thread of the test does, also when the test fails meanwhile: a scope waits for its threads.
pub(crate) struct End<'a>(pub(crate) &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Runs a command line without quoting, asserts success, gives its output.
pub(crate) fn run(line: &str, input: &str) -> String {
    use std::io::Write;
    let mut words = line.split_whitespace();
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{line} failed on:\n{input}");
    String::from_utf8(output.stdout).unwrap()
}

/// What arrives within the socket's time-out. A process that was stopped or frozen meanwhile gets EINTR from a socket
/// with a time-out, without any handler (signal(7)): that says nothing, and it listens on.
pub(crate) fn heard(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 64];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => return Some(buffer[..length].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("listening: {error}"),
        }
    }
}

/// Waits until the condition gives something, thirty seconds at most.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: not within thirty seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}
