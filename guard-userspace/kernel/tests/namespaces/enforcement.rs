//! The kernel programs over time: how refusals are counted, how a new process takes over, what stays and what goes.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Mutex;

use guard_common::{Hook, Reason};
use guard_kernel::kernel::{Entry, Kernel, Options, Service};

use crate::guarded::{API_PORT, Guarded, OTHER_PORT, SERVER, control_plane, refused};
use crate::lab::{Lab, eventually, heard};

#[test]
fn counts_are_exact_when_nobody_reads_the_reports() {
    let mut guarded = Guarded::new("counts");
    let mut reports = guarded.kernel.as_mut().unwrap().take_reports().unwrap();
    let socket = guarded.lab.pod.udp("10.9.0.2:0");
    let sent = 20_000;
    for _ in 0..sent {
        socket.send_to(b"x", (SERVER, API_PORT)).unwrap();
    }
    let counted = eventually("all are counted", || {
        let counted = guarded.refused().get(&(Hook::VethIngress, Reason::ControlPlane)).copied().unwrap_or(0);
        (counted >= sent).then_some(counted)
    });
    assert_eq!(counted, sent);
    let mut read = 0;
    while let Some(report) = reports.next_ready() {
        assert_eq!((report.port, report.protocol, report.workload), (API_PORT, 17, guarded.workload));
        read += 1;
    }
    let lost = guarded.kernel().lost_reports().unwrap();
    assert!(lost > 0, "the ring buffer holds fewer than {sent}");
    assert_eq!(read + lost, sent, "what isn't reported is counted as lost");
}

#[test]
fn a_new_process_takes_over_and_not_one_packet_comes_through() {
    let mut guarded = Guarded::new("takeover");
    let server = guarded.lab.server.udp("10.9.1.2:6443");
    let other = guarded.lab.server.udp("10.9.1.2:5000");
    let sent = guarded.under_flood(5, 100, |guarded| {
        // The old process's descriptors are closed only after the new one has taken over.
        let mut next = guarded.open();
        guarded.attach_veth(&mut next);
        assert_eq!(next.enrolled().count(), 1);
        guarded.kernel = Some(next);
    });
    assert_eq!(guarded.refused()[&(Hook::VethIngress, Reason::ControlPlane)], sent);
    assert_silent(&server);
    // The way is there: to a port that is not in the set it works all the while.
    guarded.lab.pod.udp("10.9.0.2:0").send_to(b"x", (SERVER, OTHER_PORT)).unwrap();
    heard(&other).unwrap();
}

#[test]
fn a_set_that_the_map_has_no_room_for_beside_the_old_one_takes_its_place() {
    let mut guarded = Guarded::new("full");
    let server = guarded.lab.server.udp("10.9.1.2:6443");
    // Two keys for each address; the map holds 65,536.
    for network in [11, 12] {
        let mut set = control_plane();
        set.entries.extend((0..20_000_u16).map(|number| {
            let [high, low] = number.to_be_bytes();
            let service = Service::Refused { protocol: None, port: 10250 };
            Entry { address: [network, 0, high, low].into(), service }
        }));
        guarded.kernel.as_mut().unwrap().set_control_plane(&set).unwrap();
    }
    let pod = guarded.lab.pod.udp("10.9.0.2:0");
    pod.send_to(b"x", (SERVER, API_PORT)).unwrap();
    assert_silent(&server);
    pod.send_to(b"x", "12.0.78.31:10250").unwrap();
    assert_eq!(guarded.refused()[&(Hook::VethIngress, Reason::ControlPlane)], 2);
}

fn assert_silent(socket: &UdpSocket) {
    assert_eq!(heard(socket), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_becomes_the_api_server_s_behind_the_veth_is_refused_there() {
    let mut guarded = Guarded::new("behind");
    let server = guarded.lab.server.udp("10.9.1.2:6443");
    let pod = guarded.lab.pod.udp("10.9.0.2:0");
    let mut reports = guarded.kernel.as_mut().unwrap().take_reports().unwrap().into_async().unwrap();
    // The lab's host makes 6443 of the server of its own port 8443.
    let first = tokio::spawn(async move { reports.next().await.unwrap() });
    eventually("netfilter's reports are read", || {
        pod.send_to(b"x", "10.9.0.1:8443").unwrap();
        (guarded.refused().get(&(Hook::Netfilter, Reason::ControlPlane)).copied() >= Some(3)).then_some(())
    });
    assert_silent(&server);
    let report = first.await.unwrap();
    assert_eq!((report.workload, report.port, report.hook), (guarded.workload, API_PORT, Hook::Netfilter as u8));
}

/// What the programs said, as this process's own log has it.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Ears;

impl log::Log for Ears {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        SAID.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_log_each_refusal_at_debug_level_where_that_is_asked_for() {
    log::set_logger(&Ears).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let mut guarded = Guarded::new("log");
    let runtime = tokio::runtime::Handle::current();
    let options = Options { log_programs: true, ..Options::pinned_in(&guarded.pins) };
    let open = || {
        let _inside = runtime.enter();
        Kernel::open(&options)
    };
    guarded.kernel = Some(guarded.lab.host.netns.run(open).unwrap().unwrap());
    guarded.lab.pod.udp("10.9.0.2:0").send_to(b"x", (SERVER, API_PORT)).unwrap();
    let wanted = format!("DEBUG refused: hook 8 reason 1 workload {} protocol 17 port {API_PORT}", guarded.workload);
    eventually("the programs' log", || SAID.lock().unwrap().contains(&wanted).then_some(()));
}

#[test]
fn enforcement_outlives_the_process_and_ends_with_the_pod() {
    let mut guarded = Guarded::new("outlives");
    let server = guarded.lab.server.udp("10.9.1.2:6443");
    let pod = guarded.lab.pod.udp("10.9.0.2:0");
    drop(guarded.kernel.take());
    pod.send_to(b"x", (SERVER, API_PORT)).unwrap();
    assert_silent(&server);
    let mut kernel = guarded.open();
    assert_eq!(
        refused(&kernel, guarded.workload)[&(Hook::VethIngress, Reason::ControlPlane)],
        1,
        "counted all the same"
    );
    kernel.release("pod-uid").unwrap();
    assert_eq!(kernel.enrolled().count(), 0);
    assert_eq!(std::fs::read_dir(guarded.pins.join("v1/pods")).unwrap().count(), 0);
    assert_eq!(refused(&kernel, guarded.workload), BTreeMap::new());
    pod.send_to(b"x", (SERVER, API_PORT)).unwrap();
    heard(&server).expect("released");
    kernel.uninstall().unwrap();
    assert!(!guarded.pins.exists());
}

#[test]
fn what_another_tool_attached_to_the_veth_stays() {
    let lab = Lab::new();
    lab.host.tc("qdisc add dev to_pod ingress");
    lab.host.tc("filter add dev to_pod ingress prio 7 protocol ip u32 match u32 0 0 flowid 1:1");
    let mut guarded = Guarded::in_lab("filters", lab);
    let server = guarded.lab.server.udp("10.9.1.2:6443");
    let pod = guarded.lab.pod.udp("10.9.0.2:0");
    let is_there = || guarded.lab.host.tc("filter show dev to_pod ingress").contains("u32");
    pod.send_to(b"x", (SERVER, API_PORT)).unwrap();
    assert_silent(&server);
    assert!(is_there());
    guarded.kernel.take().unwrap().uninstall().unwrap();
    pod.send_to(b"x", (SERVER, API_PORT)).unwrap();
    heard(&server).expect("the guard's program is gone");
    assert!(is_there(), "the other tool's is not");
}

#[test]
fn a_pod_that_ended_while_no_process_looked_keeps_the_next_one_from_nothing() {
    let mut guarded = Guarded::new("ended");
    drop(guarded.kernel.take());
    guarded.lab.host.ip("link del to_pod");
    std::fs::remove_dir(guarded.cgroup.path()).unwrap();
    let kernel = guarded.open();
    assert_eq!(kernel.enrolled().count(), 1, "that it is gone is for the caller to find out");
    let pods = guarded.pins.join("v1/pods");
    let links: Vec<_> =
        std::fs::read_dir(&pods).unwrap().flat_map(|pod| std::fs::read_dir(pod.unwrap().path()).unwrap()).collect();
    assert!(links.is_empty(), "{links:?}");
    guarded.kernel = Some(kernel);
}

#[test]
fn pins_of_another_layout_are_refused_with_the_fix() {
    let pins = Path::new("/sys/fs/bpf").join(format!("guard-test-{}-layout", std::process::id()));
    let lab = Lab::new();
    let open = || lab.host.netns.run(|| Kernel::open(&Options::pinned_in(&pins))).unwrap();
    open().unwrap();
    std::fs::rename(pins.join("v1"), pins.join("v999")).unwrap();
    let error = open().err().expect("refused").to_string();
    std::fs::remove_dir_all(&pins).unwrap();
    assert!(error.contains("v999") && error.contains("guard release"), "{error}");
}
