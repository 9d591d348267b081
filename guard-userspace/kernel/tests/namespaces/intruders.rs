//! Others at work on a pod's veth: what they take away is put back, and what they put before the guard's program comes behind it.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::process::Command;

use guard_common::{Hook, Reason};
use guard_kernel::Kernel;

use crate::guarded::{API_PORT, Guarded, SERVER};
use crate::lab::{Space, eventually, heard};
use crate::tcx;

/// What an intruder makes of every packet that it sees.
#[derive(Clone, Copy)]
enum Verdict {
    Accepts,
    LeavesToOthers,
}

/// A program, or a filter, that runs before whatever is there.
struct Intruder(Option<OwnedFd>);

impl Intruder {
    fn before_all(host: &Space, verdict: Verdict) -> Self {
        if has_tcx() {
            // TCX_PASS, TCX_NEXT
            let returned = if matches!(verdict, Verdict::Accepts) { 0 } else { -1 };
            let interface = host.index("to_pod");
            return Self(Some(host.netns.run(|| tcx::attach_first(interface, returned)).unwrap()));
        }
        // Classic BPF that matches every packet, or none; what matches needs no further filter.
        let code = if matches!(verdict, Verdict::Accepts) { "1,6 0 0 4294967295" } else { "1,6 0 0 0" };
        let filter = "filter add dev to_pod ingress prio 1 protocol all bpf flowid 1:1 bytecode";
        let status = Command::new("tc").args(["-n", host.name()]).args(filter.split(' ')).arg(code).status().unwrap();
        assert!(status.success());
        Self(None)
    }

    fn is_there(&self, host: &Space) -> bool {
        self.0.is_some() || host.tc("filter show dev to_pod ingress").contains("bytecode")
    }
}

fn has_tcx() -> bool {
    Kernel::missing_features().is_empty()
}

/// What was done about the pod's veth.
fn ensured(guarded: &mut Guarded) -> Vec<String> {
    let kernel = guarded.kernel.as_mut().unwrap();
    let veths = kernel.veths();
    assert_eq!(veths.iter().map(|(_, pinned)| pinned.workload).collect::<Vec<_>>(), [guarded.workload]);
    let ensure = || veths.iter().filter_map(|(interface, _)| kernel.ensure_veth(*interface).unwrap()).collect();
    guarded.lab.host.netns.run(ensure).unwrap()
}

fn gets_through(from: &UdpSocket, at: &UdpSocket) -> bool {
    from.send_to(b"x", (SERVER, API_PORT)).unwrap();
    heard(at).is_some()
}

#[test]
fn a_program_that_somebody_took_off_the_veth_is_put_back() {
    let mut guarded = Guarded::new("taken-off");
    let server = guarded.lab.server.udp("10.9.1.2:6443");
    let pod = guarded.lab.pod.udp("10.9.0.2:0");
    assert!(!gets_through(&pod, &server));
    assert!(ensured(&mut guarded).is_empty(), "all is well");
    let ways = if has_tcx() {
        ["the pin", "the link"].as_slice()
    } else {
        &["filter del dev to_pod ingress", "qdisc del dev to_pod clsact"]
    };
    for way in ways {
        let pin = guarded.pins.join(format!(
            "v1/pods/pod-uid_{}/guard_veth_ingress-{}",
            guarded.workload,
            guarded.lab.host.index("to_pod")
        ));
        match *way {
            "the pin" => std::fs::remove_file(pin).unwrap(),
            "the link" => tcx::detach(&pin),
            arguments => drop(guarded.lab.host.tc(arguments)),
        }
        // A link that has lost its pin ends a little later.
        eventually(way, || gets_through(&pod, &server).then_some(()));
        assert_eq!(ensured(&mut guarded), ["to_pod"], "{way}");
        assert!(!gets_through(&pod, &server), "{way}");
        assert!(ensured(&mut guarded).is_empty(), "{way}");
    }
}

#[test]
fn what_somebody_put_before_the_program_comes_behind_it() {
    let mut guarded = Guarded::new("put-before");
    let server = guarded.lab.server.udp("10.9.1.2:6443");
    let pod = guarded.lab.pod.udp("10.9.0.2:0");
    let intruder = Intruder::before_all(&guarded.lab.host, Verdict::Accepts);
    eventually("what the guard's program does not see", || gets_through(&pod, &server).then_some(()));
    assert_eq!(ensured(&mut guarded), ["to_pod"]);
    assert!(!gets_through(&pod, &server));
    assert!(ensured(&mut guarded).is_empty());
    assert!(intruder.is_there(&guarded.lab.host), "it is not the guard's to remove");
    // A new process takes over what was put first, and nothing else is left.
    let mut next = guarded.open();
    guarded.attach_veth(&mut next);
    guarded.kernel = Some(next);
    assert!(ensured(&mut guarded).is_empty());
    assert!(!gets_through(&pod, &server));
    guarded.kernel.take().unwrap().uninstall().unwrap();
    eventually("what nobody keeps away any more", || gets_through(&pod, &server).then_some(()));
}

#[test]
fn not_one_packet_comes_through_while_the_program_is_put_first() {
    let mut guarded = Guarded::new("put-first");
    let server = guarded.lab.server.udp("10.9.1.2:6443");
    let sent = guarded.under_flood(20, 50, |guarded| {
        let intruder = Intruder::before_all(&guarded.lab.host, Verdict::LeavesToOthers);
        assert_eq!(ensured(guarded), ["to_pod"]);
        intruder
    });
    assert_eq!(guarded.refused()[&(Hook::VethIngress, Reason::ControlPlane)], sent);
    assert_eq!(heard(&server), None);
}

#[test]
fn a_veth_that_is_gone_needs_nothing() {
    let mut guarded = Guarded::new("gone");
    guarded.lab.host.ip("link del to_pod");
    assert!(ensured(&mut guarded).is_empty());
    guarded.kernel.as_mut().unwrap().release("pod-uid").unwrap();
    assert_eq!(guarded.kernel().veths(), []);
}
