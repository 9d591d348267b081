//! The kernel programs on real packets: what the veth passes, how refusals are counted, how a new process takes over.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guard_common::{Hook, Reason};
use guard_kernel::kernel::{ControlPlaneSet, Entry, Kernel, Options, Service, WorkloadId};
use guard_kernel::packet::{self, Route};

use crate::lab::{Cgroup, Lab, eventually};

const POD: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 2);
const POD6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd09, 1, 0, 0, 0, 0, 0, 2);
const API_PORT: u16 = 6443;
const OTHER_PORT: u16 = 5000;

/// A pod behind the veth program, and pins of the test's own.
struct Guarded {
    lab: Lab,
    cgroup: Cgroup,
    pins: PathBuf,
    kernel: Option<Kernel>,
    workload: WorkloadId,
}

impl Guarded {
    fn new(name: &str) -> Self {
        Self::in_lab(name, Lab::new())
    }

    fn in_lab(name: &str, lab: Lab) -> Self {
        let cgroup = Cgroup::new(name);
        let pins = PathBuf::from(format!("/sys/fs/bpf/guard-test-{}-{name}", std::process::id()));
        // Here the veth's program marks.
        lab.host.nft("delete chain inet lab set_mark");
        lab.host.nft(
            "table inet seen {
                counter marked {}
                chain prerouting {
                    type filter hook prerouting priority -450
                    meta l4proto != ipv6-icmp meta mark and 0x2000 == 0x2000 counter name marked
                }
            }",
        );
        let workload = cgroup.id();
        let mut guarded = Self { lab, cgroup, pins, kernel: None, workload };
        let mut kernel = guarded.open();
        kernel.set_control_plane(&control_plane()).unwrap();
        assert_eq!(kernel.attach_pod("pod-uid", guarded.cgroup.path()).unwrap(), workload);
        guarded.attach_veth(&mut kernel);
        guarded.kernel = Some(kernel);
        guarded
    }

    fn open(&self) -> Kernel {
        self.lab.host.netns.run(|| Kernel::open(&Options::pinned_in(&self.pins))).unwrap().unwrap()
    }

    fn attach_veth(&self, kernel: &mut Kernel) {
        let index = self.lab.host.index("to_pod");
        let interfaces = guard_kernel::interfaces::list(&self.lab.pod.netns).unwrap();
        let addresses = interfaces.into_iter().find(|interface| interface.name == "eth0").unwrap().addresses;
        assert!(addresses.contains(&POD.into()) && addresses.contains(&POD6.into()));
        self.lab.host.netns.run(|| kernel.attach_veth(self.workload, index, "to_pod", &addresses)).unwrap().unwrap();
    }

    fn kernel(&self) -> &Kernel {
        self.kernel.as_ref().unwrap()
    }

    fn refused(&self) -> BTreeMap<(Hook, Reason), u64> {
        refused(self.kernel(), self.workload)
    }

    fn inject(&self, frame: &[u8]) {
        packet::inject(&self.lab.pod.netns, self.lab.pod.index("eth0"), frame).unwrap();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(kernel) = self.kernel.take() {
            kernel.uninstall().unwrap();
        }
    }
}

fn refused(kernel: &Kernel, workload: WorkloadId) -> BTreeMap<(Hook, Reason), u64> {
    let all = kernel.refusals().unwrap();
    all.into_iter().filter(|r| r.workload == workload).map(|r| ((r.hook, r.reason), r.count)).collect()
}

/// The server is the API server on one port; the rest of it is not in the set.
fn control_plane() -> ControlPlaneSet {
    let service = Service::ApiServer { port: API_PORT };
    let entries = [IpAddr::V4(SERVER), IpAddr::V6(SERVER6)].map(|address| Entry { address, service });
    ControlPlaneSet { entries: entries.into(), ..ControlPlaneSet::default() }
}

fn frame(guarded: &Guarded, port: u16) -> Vec<u8> {
    udp(guarded, Route::V4(POD, SERVER), port)
}

fn frame6(guarded: &Guarded, port: u16) -> Vec<u8> {
    udp(guarded, Route::V6(POD6, SERVER6), port)
}

/// To the host's end of the veth, so that the host forwards it.
fn udp(guarded: &Guarded, route: Route, port: u16) -> Vec<u8> {
    let mac = |interfaces: Vec<guard_kernel::interfaces::Interface>, name: &str| {
        interfaces.into_iter().find(|interface| interface.name == name).unwrap().mac.unwrap()
    };
    let from = mac(guard_kernel::interfaces::list(&guarded.lab.pod.netns).unwrap(), "eth0");
    let to = mac(guard_kernel::interfaces::list(&guarded.lab.host.netns).unwrap(), "to_pod");
    packet::udp_frame((from, to), route, (4000, port), b"dressed").unwrap()
}

fn with_ethertype(frame: &[u8], tag: &[u8]) -> Vec<u8> {
    [&frame[..12], tag, &frame[12..]].concat()
}

/// Puts options behind the IPv4 header.
fn with_ipv4_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut dressed = [&frame[..34], options, &frame[34..]].concat();
    dressed[14] = 0x45 + u8::try_from(options.len() / 4).unwrap();
    let length = u16::try_from(dressed.len() - 14).unwrap();
    dressed[16..18].copy_from_slice(&length.to_be_bytes());
    dressed
}

/// Mends the IPv4 header's checksum, so that the kernel behind the veth takes the packet.
fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let length = 4 * usize::from(frame[14] & 0x0f);
    if frame[12..14] == [8, 0] && length >= 20 && frame.len() >= 14 + length {
        frame[24..26].fill(0);
        let words = frame[14..14 + length].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let sum = (sum >> 16) + (sum & 0xffff);
        frame[24..26].copy_from_slice(&(!u16::try_from((sum >> 16) + (sum & 0xffff)).unwrap()).to_be_bytes());
    }
    frame
}

fn with_fragment_field(frame: &[u8], field: u16) -> Vec<u8> {
    let mut dressed = frame.to_vec();
    dressed[20..22].copy_from_slice(&field.to_be_bytes());
    dressed
}

/// Puts extension headers behind the IPv6 header: each its own number and the bytes behind its next-header field.
fn with_extensions(frame: &[u8], extensions: &[(u8, [u8; 7])]) -> Vec<u8> {
    let mut dressed = frame[..54].to_vec();
    let mut at = 20;
    for (number, bytes) in extensions {
        dressed[at] = *number;
        at = dressed.len();
        dressed.push(17);
        dressed.extend_from_slice(bytes);
    }
    dressed.extend_from_slice(&frame[54..]);
    let length = u16::try_from(dressed.len() - 54).unwrap();
    dressed[18..20].copy_from_slice(&length.to_be_bytes());
    dressed
}

#[test]
fn the_veth_passes_only_what_it_has_parsed() {
    let guarded = Guarded::new("veth");
    let good = frame(&guarded, OTHER_PORT);
    let good6 = frame6(&guarded, OTHER_PORT);
    let to_api = frame(&guarded, API_PORT);
    let to_api6 = frame6(&guarded, API_PORT);
    let foreign = udp(&guarded, Route::V4(Ipv4Addr::new(10, 9, 0, 77), SERVER), OTHER_PORT);
    let foreign6 = udp(&guarded, Route::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 77), SERVER6), OTHER_PORT);
    let hop = (0, [0, 1, 4, 0, 0, 0, 0]);
    let destination = (60, [0, 1, 4, 0, 0, 0, 0]);
    let mut short = good.clone();
    short[14] = 0x44;
    let mut too_long = good.clone();
    too_long[16..18].copy_from_slice(&2000_u16.to_be_bytes());
    let mut gre = to_api.clone();
    gre[23] = 47;
    let mut gre_elsewhere = udp(&guarded, Route::V4(POD, Ipv4Addr::new(10, 9, 1, 99)), OTHER_PORT);
    gre_elsewhere[23] = 47;
    let mut arp = vec![0xff; 6];
    arp.extend_from_slice(&good[6..12]);
    arp.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend_from_slice(&good[6..12]);
    arp.extend_from_slice(&POD.octets());
    arp.extend_from_slice(&[0, 0, 0, 0, 0, 0, 10, 9, 0, 1]);
    let mut foreign_arp = arp.clone();
    foreign_arp[31] = 77;
    let first_fragment = with_fragment_field(&to_api, 0x2000);
    let later_fragment = with_fragment_field(&to_api, 0x0004);
    let table: Vec<(&str, Vec<u8>, Option<Reason>)> = vec![
        ("IPv4", good.clone(), None),
        ("IPv6", good6.clone(), None),
        ("ARP", arp, None),
        ("IPv4 to the API server", to_api.clone(), Some(Reason::ControlPlane)),
        ("IPv6 to the API server", to_api6.clone(), Some(Reason::ControlPlane)),
        ("padding behind a packet to the API server", [&to_api[..], &[0; 40]].concat(), Some(Reason::ControlPlane)),
        ("a VLAN tag", with_ethertype(&good, &[0x81, 0, 0, 5]), Some(Reason::Tagged)),
        ("a priority tag", with_ethertype(&good, &[0x81, 0, 0xe0, 0]), Some(Reason::Tagged)),
        ("two tags", with_ethertype(&good, &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]), Some(Reason::Tagged)),
        ("another ethertype", with_ethertype(&good, &[0x88, 0x47, 0, 0]), Some(Reason::Unparsed)),
        ("802.3 with LLC", with_ethertype(&good, &[0, 40, 0xaa, 0xaa]), Some(Reason::Unparsed)),
        ("a header length of 16", short, Some(Reason::Unparsed)),
        ("a length beyond the frame", too_long, Some(Reason::Unparsed)),
        ("less than a header", good[..30].to_vec(), Some(Reason::Unparsed)),
        ("loose source routing", with_ipv4_options(&good, &[131, 7, 4, 10, 9, 1, 2, 0]), Some(Reason::SourceRouted)),
        ("strict source routing", with_ipv4_options(&good, &[137, 7, 4, 10, 9, 1, 2, 0]), Some(Reason::SourceRouted)),
        ("record route", with_ipv4_options(&good, &[7, 7, 4, 0, 0, 0, 0, 0]), Some(Reason::SourceRouted)),
        ("router alert", with_ipv4_options(&good, &[148, 4, 0, 0]), None),
        ("router alert to the API server", with_ipv4_options(&to_api, &[148, 4, 0, 0]), Some(Reason::ControlPlane)),
        ("a first fragment to the API server", first_fragment, Some(Reason::Portless)),
        ("a later fragment to the API server", later_fragment, Some(Reason::Portless)),
        ("a fragment elsewhere", with_fragment_field(&gre_elsewhere, 0x2000), None),
        ("GRE to the API server's address", gre, Some(Reason::Portless)),
        ("GRE elsewhere", gre_elsewhere, None),
        ("a foreign source", foreign, Some(Reason::ForeignSource)),
        ("a foreign IPv6 source", foreign6, Some(Reason::ForeignSource)),
        ("ARP for another address", foreign_arp, Some(Reason::ForeignSource)),
        ("a hop-by-hop header", with_extensions(&good6, &[hop]), None),
        ("a hop-by-hop header to the API server", with_extensions(&to_api6, &[hop]), Some(Reason::ControlPlane)),
        (
            "several headers to the API server",
            with_extensions(&to_api6, &[hop, destination]),
            Some(Reason::ControlPlane),
        ),
        ("more headers than any stack sends", with_extensions(&to_api6, &[destination; 9]), Some(Reason::Unparsed)),
        ("a routing header", with_extensions(&good6, &[(43, [0, 2, 1, 0, 0, 0, 0])]), Some(Reason::SourceRouted)),
        ("segment routing", with_extensions(&good6, &[(43, [0, 4, 1, 0, 0, 0, 0])]), Some(Reason::SourceRouted)),
        ("an atomic fragment", with_extensions(&to_api6, &[(44, [0; 7])]), Some(Reason::Portless)),
        ("an unfinished chain", with_extensions(&good6, &[(60, [200, 0, 0, 0, 0, 0, 0])]), Some(Reason::Unparsed)),
    ];
    for (name, frame, expected) in table {
        let before = guarded.refused();
        let passed_before = marked(&guarded);
        guarded.inject(&with_checksum(frame));
        let after = guarded.refused();
        let new: Vec<_> = after.iter().filter(|(key, count)| before.get(key).unwrap_or(&0) < count).collect();
        match expected {
            None => {
                assert_eq!(new, [], "{name} passes");
                assert!(name == "ARP" || marked(&guarded) > passed_before, "{name} is marked as an agent's");
            }
            Some(reason) => {
                assert_eq!(new.len(), 1, "{name} is refused, for one reason");
                assert_eq!(*new[0].0, (Hook::VethIngress, reason), "{name}");
                assert_eq!(marked(&guarded), passed_before, "{name} goes no further");
            }
        }
    }
}

/// Packets with the agents' mark that came past the veth's program; not the pod's own neighbour discovery.
fn marked(guarded: &Guarded) -> u64 {
    let text = guarded.lab.host.nft("list counter inet seen marked");
    let words: Vec<_> = text.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "packets").unwrap();
    words[at + 1].parse().unwrap()
}

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
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let flood = guarded.lab.pod.udp("10.9.0.2:0");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                flood.send_to(b"x", (SERVER, API_PORT)).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..5 {
            let before = sent.load(Ordering::Relaxed);
            // The old process's descriptors are closed only after the new one has taken over.
            let mut next = guarded.open();
            guarded.attach_veth(&mut next);
            assert_eq!(next.enrolled().count(), 1);
            guarded.kernel = Some(next);
            eventually("packets are sent meanwhile", || (sent.load(Ordering::Relaxed) > before + 100).then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(guarded.refused()[&(Hook::VethIngress, Reason::ControlPlane)], sent.load(Ordering::Relaxed));
    assert_silent(&server);
    // The way is there: to a port that is not in the set it works all the while.
    flood.send_to(b"x", (SERVER, OTHER_PORT)).unwrap();
    other.recv(&mut [0; 8]).unwrap();
}

fn assert_silent(socket: &UdpSocket) {
    let error = socket.recv(&mut [0; 8]).expect_err("nothing arrived");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
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
    server.recv(&mut [0; 8]).expect("released");
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
    server.recv(&mut [0; 8]).expect("the guard's program is gone");
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
