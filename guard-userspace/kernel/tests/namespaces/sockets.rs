//! Whose a socket is, and cutting connections.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guard_kernel::sockets::Diagnostics;

use crate::lab::{Cgroup, Lab, Space, eventually};

/// A process in a cgroup and a namespace that holds one connection until it is killed.
struct Client(Child);

impl Client {
    fn connect(space: &Space, cgroup: &Cgroup, host: &str, port: u16) -> Self {
        let script =
            format!("echo $$ > {}/cgroup.procs; exec 3<>/dev/tcp/{host}/{port}; read -u 3", cgroup.path().display());
        let child = Command::new("nsenter")
            .args([&format!("--net=/run/netns/{}", space.name()), "bash", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn accept(listener: &TcpListener) -> (std::net::TcpStream, SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    eventually("a connection", || listener.accept().ok())
}

#[test]
fn the_cgroup_of_a_client_is_known_whatever_address_family_it_uses() {
    let space = Space::new("pod");
    let cgroup = Cgroup::new("families");
    let (v4, v6) = (space.listen("127.0.0.1:7001"), space.listen("[::1]:7001"));
    let diagnostics = Diagnostics::open(&space.netns).unwrap();
    for (host, listener) in [("127.0.0.1", &v4), ("::ffff:127.0.0.1", &v4), ("::1", &v6)] {
        let client = Client::connect(&space, &cgroup, host, 7001);
        let (_stream, address) = accept(listener);
        let local = listener.local_addr().unwrap();
        assert_eq!(diagnostics.owner_cgroup(address, local).unwrap(), Some(cgroup.id()), "{host}");
        drop(client);
        eventually("the socket is gone", || diagnostics.owner_cgroup(address, local).unwrap().is_none().then_some(()));
    }
}

#[test]
fn a_listener_at_the_clients_address_is_not_taken_for_the_client() {
    let space = Space::new("pod");
    let _bystander = space.listen("0.0.0.0:7002");
    let diagnostics = Diagnostics::open(&space.netns).unwrap();
    for address in ["127.0.0.1:7002", "[::ffff:127.0.0.1]:7002"] {
        let answer = diagnostics.owner_cgroup(address.parse().unwrap(), "127.0.0.1:7003".parse().unwrap()).unwrap();
        assert_eq!(answer, None, "{address}");
    }
}

#[test]
fn a_client_of_another_namespace_is_unknown() {
    let (space, other) = (Space::new("pod"), Space::new("other"));
    let cgroup = Cgroup::new("other");
    let listener = space.listen("127.0.0.1:7004");
    let client = Client::connect(&space, &cgroup, "127.0.0.1", 7004);
    let (_stream, address) = accept(&listener);
    let local = listener.local_addr().unwrap();
    assert_eq!(Diagnostics::open(&other.netns).unwrap().owner_cgroup(address, local).unwrap(), None);
    drop(client);
}

#[test]
fn asking_takes_microseconds() {
    let space = Space::new("pod");
    let listener = space.listen("127.0.0.1:7005");
    let client = space.connect("127.0.0.1:7005".parse().unwrap()).unwrap();
    let diagnostics = Diagnostics::open(&space.netns).unwrap();
    let (from, to) = (client.local_addr().unwrap(), listener.local_addr().unwrap());
    let mut times: Vec<_> = (0..1000)
        .map(|_| {
            let start = Instant::now();
            assert!(diagnostics.owner_cgroup(from, to).unwrap().is_some());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("median {:?}", times[500]);
    assert!(times[500] < Duration::from_micros(200), "median {:?}", times[500]);
}

#[test]
fn connections_to_the_doomed_are_cut_and_others_live() {
    let lab = Lab::new();
    let (api, other) = (lab.server.listen("[::]:6443"), lab.server.listen("[::]:7443"));
    let mut doomed = Vec::new();
    // The third is an IPv6 socket with an IPv4-mapped remote address.
    for address in ["10.9.1.2:6443", "[fd09:1::2]:6443", "[::ffff:10.9.1.2]:6443"] {
        doomed.push((lab.pod.connect(address.parse().unwrap()).unwrap(), accept(&api).0));
    }
    let mut spared = lab.pod.connect("10.9.1.2:7443".parse().unwrap()).unwrap();
    let (mut spared_far, _) = accept(&other);
    let set = ["10.9.1.2:6443", "[fd09:1::2]:6443"].map(|text| text.parse::<SocketAddr>().unwrap());
    let diagnostics = Diagnostics::open(&lab.pod.netns).unwrap();
    assert_eq!(diagnostics.destroy(|remote| set.contains(&remote)).unwrap(), 3);
    for (mut near, mut far) in doomed {
        assert_eq!(near.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
        far.set_nonblocking(false).unwrap();
        assert_eq!(far.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
    std::io::Write::write_all(&mut spared_far, b"x").unwrap();
    spared.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(diagnostics.destroy(|remote| set.contains(&remote)).unwrap(), 0);
}
