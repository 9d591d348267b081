//! The nft table, on real packets.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use guard_kernel::netfilter::{Endpoint, Hook, Netfilter, Options, Ports, Refused, Reports};

use crate::lab::{End, Lab, eventually, heard};

const POD: &str = "10.9.0.2";
const POD6: &str = "fd09::2";
const SERVER: &str = "10.9.1.2";
const SERVER6: &str = "fd09:1::2";
const UDP: u8 = 17;

fn options(mark: u32) -> Options {
    Options { table: "egress_guard_test".into(), mark, log_group: 4077 }
}

fn open(lab: &Lab) -> Netfilter {
    Netfilter::open(&lab.host.netns, options(0x100)).unwrap()
}

fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint { address: ip(address), ports: Ports::One { protocol: None, port } }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn arrives(from: &UdpSocket, to: &str, at: &UdpSocket) -> bool {
    from.send_to(b"hello", to).unwrap();
    heard(at).is_some()
}

fn read_all(reports: &mut Reports, count: usize) -> Vec<Refused> {
    let mut found = Vec::new();
    eventually("reports", || {
        match reports.read() {
            Ok(mut more) => found.append(&mut more),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        (found.len() >= count).then_some(())
    });
    found
}

#[test]
fn what_a_pod_sends_to_an_endpoint_is_dropped_after_dnat_and_counted_exactly() {
    let lab = Lab::new();
    let netfilter = open(&lab);
    let server = lab.server.udp("[::]:6443");
    let (pod, pod6, host) = (lab.pod.udp("0.0.0.0:0"), lab.pod.udp("[::]:0"), lab.host.udp("0.0.0.0:0"));
    let ways =
        [(&pod, "10.9.0.1:8443"), (&pod, "10.9.1.2:6443"), (&pod6, "[fd09::1]:8443"), (&pod6, "[fd09:1::2]:6443")];
    for (from, to) in ways {
        assert!(arrives(from, to, &server), "{to} without endpoints");
    }
    netfilter.set_endpoints(&[endpoint(SERVER, 6443), endpoint(SERVER6, 6443)]).unwrap();
    for (from, to) in ways {
        assert!(!arrives(from, to, &server), "{to} with endpoints");
    }
    assert!(arrives(&host, "10.9.1.2:6443", &server), "an unmarked packet passes");
    assert_eq!(netfilter.refused().unwrap(), HashMap::from([(ip(POD), 2), (ip(POD6), 2)]));

    for _ in 0..249 {
        for (from, to) in ways {
            from.send_to(b"again", to).unwrap();
        }
    }
    let counts = eventually("all packets handled", || {
        let counts = netfilter.refused().unwrap();
        (counts.values().sum::<u64>() >= 1000).then_some(counts)
    });
    assert_eq!(counts, HashMap::from([(ip(POD), 500), (ip(POD6), 500)]));

    netfilter.forget(ip(POD)).unwrap();
    netfilter.forget(ip(POD)).unwrap();
    assert_eq!(netfilter.refused().unwrap(), HashMap::from([(ip(POD6), 500)]));
}

#[test]
fn an_endpoint_is_its_protocol_and_port_alone_or_all_of_its_ports() {
    let lab = Lab::new();
    let netfilter = open(&lab);
    let (pod, server, other) = (lab.pod.udp("0.0.0.0:0"), lab.server.udp("[::]:6443"), lab.server.udp("[::]:53"));
    let tcp_only = Endpoint { address: ip(SERVER), ports: Ports::One { protocol: Some(6), port: 6443 } };
    netfilter.set_endpoints(&[tcp_only]).unwrap();
    assert!(arrives(&pod, "10.9.1.2:6443", &server));
    let listener = lab.server.listen("[::]:6443");
    lab.pod.connect("10.9.1.2:6443".parse().unwrap()).unwrap_err();
    drop(listener);

    netfilter.set_endpoints(&[endpoint(SERVER, 6443)]).unwrap();
    assert!(!arrives(&pod, "10.9.1.2:6443", &server));
    assert!(arrives(&pod, "10.9.1.2:53", &other));

    netfilter.set_endpoints(&[Endpoint { address: ip(SERVER), ports: Ports::All }]).unwrap();
    assert!(!arrives(&pod, "10.9.1.2:6443", &server));
    assert!(!arrives(&pod, "10.9.1.2:53", &other));

    netfilter.set_endpoints(&[]).unwrap();
    assert!(arrives(&pod, "10.9.1.2:6443", &server));
}

#[test]
fn thousands_of_endpoints_are_set_at_once() {
    let lab = Lab::new();
    let netfilter = open(&lab);
    let mut all: Vec<_> =
        (0..5000_u16).map(|low| endpoint(&format!("10.50.{}.{}", low >> 8, low & 0xff), 6443)).collect();
    all.push(endpoint(SERVER, 6443));
    netfilter.set_endpoints(&all).unwrap();
    let (pod, server) = (lab.pod.udp("0.0.0.0:0"), lab.server.udp("[::]:6443"));
    assert!(!arrives(&pod, "10.9.1.2:6443", &server));
    netfilter.set_endpoints(&[]).unwrap();
    assert!(arrives(&pod, "10.9.1.2:6443", &server));
}

#[test]
fn a_local_port_is_closed_to_pods_at_every_address_of_the_host() {
    let lab = Lab::new();
    let netfilter = open(&lab);
    let (pod, pod6, kubelet) = (lab.pod.udp("0.0.0.0:0"), lab.pod.udp("[::]:0"), lab.host.udp("[::]:10250"));
    let ways = [(&pod, "10.9.0.1:10250"), (&pod, "10.9.1.1:10250"), (&pod6, "[fd09::1]:10250")];
    for (from, to) in ways {
        assert!(arrives(from, to, &kubelet), "{to} before");
    }
    netfilter.set_local_ports(&[(UDP, 10250)]).unwrap();
    for (from, to) in ways {
        assert!(!arrives(from, to, &kubelet), "{to} after");
    }
    assert!(arrives(&lab.server.udp("0.0.0.0:0"), "10.9.1.1:10250", &kubelet), "an unmarked packet passes");
    assert_eq!(netfilter.refused().unwrap(), HashMap::from([(ip(POD), 2), (ip(POD6), 1)]));
}

#[test]
fn every_refusal_is_reported_with_its_addresses_port_protocol_and_hook() {
    let lab = Lab::new();
    let netfilter = open(&lab);
    let mut reports = netfilter.reports(&lab.host.netns).unwrap();
    netfilter.set_endpoints(&[endpoint(SERVER, 6443), endpoint(SERVER6, 6443)]).unwrap();
    netfilter.set_local_ports(&[(UDP, 10250)]).unwrap();
    lab.pod.udp("0.0.0.0:0").send_to(b"x", "10.9.0.1:8443").unwrap();
    lab.pod.udp("[::]:0").send_to(b"x", "[fd09:1::2]:6443").unwrap();
    lab.pod.udp("0.0.0.0:0").send_to(b"x", "10.9.0.1:10250").unwrap();
    let refused = |source, destination, port, hook| Refused {
        source: ip(source),
        destination: ip(destination),
        port: Some(port),
        protocol: UDP,
        hook,
    };
    assert_eq!(
        read_all(&mut reports, 3),
        [
            refused(POD, SERVER, 6443, Hook::Forward),
            refused(POD6, SERVER6, 6443, Hook::Forward),
            refused(POD, "10.9.0.1", 10250, Hook::Input),
        ]
    );
    assert_eq!(reports.lost(), 0);
    assert!(netfilter.reports(&lab.host.netns).is_err(), "a second reader of the group");
}

#[test]
fn reports_that_nobody_read_in_time_are_counted_as_lost() {
    const SENT: u64 = 120_000;
    let lab = Lab::new();
    let netfilter = open(&lab);
    let mut reports = netfilter.reports(&lab.host.netns).unwrap();
    netfilter.set_endpoints(&[endpoint(SERVER, 6443)]).unwrap();
    let pod = lab.pod.udp("0.0.0.0:0");
    for _ in 0..SENT {
        pod.send_to(b"x", "10.9.1.2:6443").unwrap();
    }
    eventually("all packets counted", || (netfilter.refused().unwrap()[&ip(POD)] == SENT).then_some(()));
    let mut read = 0;
    while let Ok(more) = reports.read() {
        read += more.len() as u64;
    }
    // The next report tells of those before it.
    pod.send_to(b"x", "10.9.1.2:6443").unwrap();
    read += read_all(&mut reports, 1).len() as u64;
    assert!(reports.lost() > 0, "the flood was too small: all {read} reports were kept");
    assert_eq!(read + reports.lost(), SENT + 1);
    assert_eq!(netfilter.refused().unwrap()[&ip(POD)], SENT + 1);
}

#[test]
fn the_table_outlives_its_maker_and_the_next_takes_it_over_with_sets_and_counters() {
    let lab = Lab::new();
    let first = open(&lab);
    first.set_endpoints(&[endpoint(SERVER, 6443)]).unwrap();
    let (pod, server) = (lab.pod.udp("0.0.0.0:0"), lab.server.udp("[::]:6443"));
    assert!(!arrives(&pod, "10.9.1.2:6443", &server));
    drop(first);
    assert!(!arrives(&pod, "10.9.1.2:6443", &server), "nobody holds the table");

    let second = open(&lab);
    assert!(!arrives(&pod, "10.9.1.2:6443", &server));
    assert_eq!(second.refused().unwrap(), HashMap::from([(ip(POD), 3)]));

    let other_rules = Netfilter::open(&lab.host.netns, options(0x200)).unwrap();
    assert!(!arrives(&pod, "10.9.1.2:6443", &server));
    assert_eq!(other_rules.refused().unwrap(), HashMap::from([(ip(POD), 4)]));

    other_rules.remove().unwrap();
    assert!(arrives(&pod, "10.9.1.2:6443", &server));
}

#[test]
fn nothing_slips_through_while_the_table_is_replaced() {
    let lab = Lab::new();
    let first = open(&lab);
    first.set_endpoints(&[endpoint(SERVER, 6443)]).unwrap();
    let (pod, server) = (lab.pod.udp("0.0.0.0:0"), lab.server.udp("[::]:6443"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                pod.send_to(b"x", "10.9.1.2:6443").unwrap();
                sent += 1;
            }
            sent
        });
        let end = End(&done);
        for round in 0..100 {
            let mark = if round % 2 == 0 { 0x200 } else { 0x100 };
            let next = Netfilter::open(&lab.host.netns, options(mark)).unwrap();
            let other = endpoint(&format!("10.60.0.{round}"), 6443);
            next.set_endpoints(&[endpoint(SERVER, 6443), other]).unwrap();
        }
        drop(end);
        assert!(flood.join().unwrap() > 1000);
    });
    assert_eq!(heard(&server), None);
}

#[test]
fn a_table_that_somebody_switched_off_or_emptied_is_put_back() {
    let lab = Lab::new();
    let netfilter = open(&lab);
    assert!(!netfilter.ensure().unwrap(), "an intact table stays");
    for tampering in [
        "add table inet egress_guard_test { flags dormant; }",
        "flush chain inet egress_guard_test endpoints",
        "delete table inet egress_guard_test",
        "flush ruleset",
    ] {
        netfilter.set_endpoints(&[endpoint(SERVER, 6443)]).unwrap();
        lab.host.nft(tampering);
        assert!(netfilter.ensure().unwrap(), "{tampering}");
        netfilter.set_endpoints(&[endpoint(SERVER, 6443)]).unwrap();
        assert!(!netfilter.ensure().unwrap(), "{tampering}");
    }
    let rules = lab.host.nft("list table inet egress_guard_test");
    assert!(rules.contains("10.9.1.2 . tcp . 6443"), "{rules}");
    assert!(rules.contains("hook forward priority mangle - 10"), "{rules}");
    assert!(!rules.contains("dormant"), "{rules}");
}

#[test]
fn options_that_would_mark_everybody_are_refused() {
    let lab = Lab::new();
    assert!(Netfilter::open(&lab.host.netns, options(0)).is_err());
    assert!(Netfilter::open(&lab.host.netns, Options { table: "a b".into(), ..options(1) }).is_err());
}
