//! The hooks on a pod's cgroup, on the system calls of a process in it; and what the guard says of the kernel that it meets.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use guard_common::{Hook, Reason};
use guard_kernel::kernel::{ControlPlaneSet, Entry, Kernel, ListenerAddress, Options, Service};
use guard_kernel::listener::{self, Listeners, Sysctls};
use guard_kernel::netns::Netns;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType};

use crate::lab::{Cgroup, Lab};

const SERVER: &str = "10.9.1.2";
const SERVER6: &str = "fd09:1::2";
const API_PORT: u16 = 6443;
const OTHER_PORT: u16 = 5000;

// `IPPROTO_ICMP`, `IPPROTO_MPTCP`, `MSG_FASTOPEN` of the kernel's headers.
const ICMP: u32 = 1;
const MPTCP: u32 = 262;
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);

const CGROUP: &str = "GUARD_TEST_CGROUP";
const NETNS: &str = "GUARD_TEST_NETNS";
const LISTENER: &str = "GUARD_TEST_LISTENER";

#[test]
fn a_pod_s_calls_reach_the_listener_or_are_refused_and_counted() {
    let lab = Lab::new();
    let cgroup = Cgroup::new("pod-hooks");
    let pins = Path::new("/sys/fs/bpf").join(format!("guard-test-{}-pod-hooks", std::process::id()));
    let mut kernel = lab.host.netns.run(|| Kernel::open(&Options::pinned_in(pins))).unwrap().unwrap();
    let service = Service::ApiServer { port: API_PORT };
    let entries = [SERVER, SERVER6].map(|address| Entry { address: address.parse().unwrap(), service });
    kernel.set_control_plane(&ControlPlaneSet { entries: entries.into(), ..ControlPlaneSet::default() }).unwrap();
    let workload = kernel.attach_pod("pod-uid", cgroup.path()).unwrap();
    let Listeners { port, v4, v6 } = listener::open(&lab.pod.netns, &Sysctls::default()).unwrap();
    kernel.set_listener(workload, lab.pod.netns.cookie().unwrap(), ListenerAddress { port, ipv6: true }).unwrap();

    let server = [API_PORT, OTHER_PORT].map(|port| lab.server.listen(&format!("[::]:{port}")));
    let stop = AtomicBool::new(false);
    let outcomes = std::thread::scope(|scope| {
        for listener in [&v4, v6.as_ref().unwrap()] {
            scope.spawn(|| greet(listener, b"guard", &stop));
        }
        for listener in &server {
            scope.spawn(|| greet(listener, b"server", &stop));
        }
        let outcomes = run_in(&cgroup, lab.pod.name(), port);
        stop.store(true, Ordering::Relaxed);
        outcomes
    });
    let expected = [
        ("TCP", "guard, peer 10.9.1.2:6443"),
        ("TCP to a mapped address", "guard, peer [::ffff:10.9.1.2]:6443"),
        ("TCP over IPv6", "guard, peer [fd09:1::2]:6443"),
        ("TCP after bind", "guard, peer 10.9.1.2:6443"),
        ("TCP Fast Open", "guard, peer 10.9.1.2:6443"),
        ("Multipath TCP", "guard"),
        ("TCP to another port", "server, peer 10.9.1.2:5000"),
        ("UDP connect", "PERM"),
        ("UDP connect over IPv6", "PERM"),
        ("UDP datagram", "PERM"),
        ("UDP datagram over IPv6", "PERM"),
        ("UDP datagram to another port", "sent"),
        ("an echo request of a raw socket", "PERM"),
        ("bind to the listener's port", "PERM"),
        ("bind to the listener's port over IPv6", "PERM"),
    ];
    assert_eq!(outcomes, expected.map(|(attempt, outcome)| (attempt.to_owned(), outcome.to_owned())));

    let refused: BTreeMap<_, _> =
        kernel.refusals().unwrap().into_iter().map(|one| ((one.workload, one.hook, one.reason), one.count)).collect();
    let each_once = [
        (Hook::Connect4, Reason::ControlPlane),
        (Hook::Connect6, Reason::ControlPlane),
        (Hook::Sendmsg4, Reason::ControlPlane),
        (Hook::Sendmsg6, Reason::ControlPlane),
        (Hook::Bind4, Reason::ListenerPort),
        (Hook::Bind6, Reason::ListenerPort),
        (Hook::SkbEgress, Reason::Portless),
    ];
    assert_eq!(refused, each_once.map(|(hook, reason)| ((workload, hook, reason), 1)).into());
    kernel.uninstall().unwrap();
}

/// Kernels of the matrix (`cargo xtask kernels`): 5.10 is refused, 6.1 does without tcx, 6.12 and newer have all. What is
/// printed is looked for there.
#[test]
fn what_this_kernel_lacks_is_said() {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let pins = Path::new("/sys/fs/bpf").join(format!("guard-test-{}-lacks", std::process::id()));
    let host = crate::lab::Space::new("host");
    let opened = host.netns.run(|| Kernel::open(&Options::pinned_in(pins))).unwrap();
    if version < (5, 15) {
        let error = opened.err().unwrap().to_string();
        println!("this kernel: {error}");
        assert!(error.contains("Linux 5.15 or newer") && error.contains("SO_NETNS_COOKIE"), "{error}");
        return;
    }
    opened.unwrap().uninstall().unwrap();
    let missing = Kernel::missing_features();
    println!("this kernel: {}", if missing.is_empty() { "nothing is missing".to_owned() } else { missing.join("; ") });
    match missing[..] {
        [tcx] => assert!(version < (6, 6) && tcx.contains("tcx") && tcx.contains("clsact"), "{release}: {tcx}"),
        ref missing => assert!(version >= (6, 6) && missing.is_empty(), "{release}: {missing:?}"),
    }
}

/// Greets who connects; the connections stay until the end, so that no reset overtakes the greeting.
fn greet(listener: &TcpListener, greeting: &[u8], stop: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    let mut streams = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.write_all(greeting).unwrap();
                streams.push(stream);
            }
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}

/// Runs [`in_the_pod`] as a process of its own; what came of each attempt.
fn run_in(cgroup: &Cgroup, netns: &str, listener: u16) -> Vec<(String, String)> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "pod_hooks::in_the_pod", "--nocapture"])
        .env(CGROUP, cgroup.path())
        .env(NETNS, format!("/run/netns/{netns}"))
        .env(LISTENER, listener.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let outcomes = text.lines().filter_map(|line| line.strip_prefix("> ")?.split_once(" = "));
    outcomes.map(|(attempt, outcome)| (attempt.to_owned(), outcome.to_owned())).collect()
}

#[test]
#[ignore = "the pod's process: the test of its calls starts it"]
fn in_the_pod() {
    let variable = |name| std::env::var(name).expect("started by another test");
    std::fs::write(Path::new(&variable(CGROUP)).join("cgroup.procs"), "0").unwrap();
    let listener: u16 = variable(LISTENER).parse().unwrap();
    Netns::open(variable(NETNS)).unwrap().run(|| attempts(listener)).unwrap();
}

fn attempts(listener: u16) {
    let server = SocketAddr::new(SERVER.parse().unwrap(), API_PORT);
    let server6 = SocketAddr::new(SERVER6.parse().unwrap(), API_PORT);
    let mapped = SocketAddr::new(Ipv4Addr::new(10, 9, 1, 2).to_ipv6_mapped().into(), API_PORT);
    let other = SocketAddr::new(SERVER.parse().unwrap(), OTHER_PORT);
    // libtest leaves its own line unfinished.
    println!();
    say("TCP", connect(&tcp(server), server));
    say("TCP to a mapped address", connect(&tcp(mapped), mapped));
    say("TCP over IPv6", connect(&tcp(server6), server6));
    let bound = tcp(server);
    rustix::net::bind(&bound, &SocketAddr::from(([10, 9, 0, 2], 0))).unwrap();
    say("TCP after bind", connect(&bound, server));
    let fast = tcp(server);
    say("TCP Fast Open", send(&fast, server, FAST_OPEN).and_then(|_| greeting(&fast)));
    // The peer that a socket of Multipath TCP shows is its first subflow's, or not, by kernel.
    let multipath = socket(server, SocketType::STREAM, MPTCP);
    say("Multipath TCP", connect(&multipath, server).map(|said| said.split(',').next().unwrap_or_default().to_owned()));
    say("TCP to another port", connect(&tcp(other), other));
    say("UDP connect", connect(&udp(server), server));
    say("UDP connect over IPv6", connect(&udp(server6), server6));
    say("UDP datagram", send(&udp(server), server, SendFlags::empty()));
    say("UDP datagram over IPv6", send(&udp(server6), server6, SendFlags::empty()));
    say("UDP datagram to another port", send(&udp(other), other, SendFlags::empty()));
    say("an echo request of a raw socket", send(&socket(server, SocketType::RAW, ICMP), server, SendFlags::empty()));
    for (attempt, any) in [("", "0.0.0.0"), (" over IPv6", "::")] {
        let address = SocketAddr::new(any.parse().unwrap(), listener);
        let bound = rustix::net::bind(tcp(address), &address).map(|()| "bound".to_owned());
        say(&format!("bind to the listener's port{attempt}"), bound);
    }
}

fn say(attempt: &str, outcome: Result<String, Errno>) {
    let outcome = outcome.unwrap_or_else(|error| match error {
        Errno::PERM => "PERM".to_owned(),
        other => other.to_string(),
    });
    println!("> {attempt} = {outcome}");
}

fn socket(to: SocketAddr, kind: SocketType, protocol: u32) -> OwnedFd {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let protocol = std::num::NonZeroU32::new(protocol).map(Protocol::from_raw);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol).unwrap()
}

fn tcp(to: SocketAddr) -> OwnedFd {
    socket(to, SocketType::STREAM, 0)
}

fn udp(to: SocketAddr) -> OwnedFd {
    socket(to, SocketType::DGRAM, 0)
}

fn connect(socket: &OwnedFd, to: SocketAddr) -> Result<String, Errno> {
    rustix::net::connect(socket, &to)?;
    greeting(socket)
}

fn greeting(socket: &OwnedFd) -> Result<String, Errno> {
    let mut buffer = [0; 16];
    let (length, _) = rustix::net::recv(socket, &mut buffer, rustix::net::RecvFlags::empty())?;
    let peer = SocketAddr::try_from(rustix::net::getpeername(socket)?.ok_or(Errno::NOTCONN)?)?;
    Ok(format!("{}, peer {peer}", String::from_utf8_lossy(&buffer[..length])))
}

/// The bytes are an ICMP echo request, for the socket that wants one.
fn send(socket: &OwnedFd, to: SocketAddr, flags: SendFlags) -> Result<String, Errno> {
    let echo_request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    rustix::net::sendto(socket, &echo_request, flags, &to).map(|_| "sent".to_owned())
}
