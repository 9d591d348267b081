//! The command's network: everything as before but the control plane, and nobody else's.

use std::net::SocketAddr;
use std::time::Duration;

use guard_e2e::finding::Outcome;
use guard_e2e::harness::{Echo, Running, SOON, eventually, run};

use super::BED;
use super::bed::{ALLOW, Bed, finding};

const LONG: Duration = Duration::from_mins(2);

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn the_rest_of_the_network_is_reached_over_both_families() {
    for at in ["172.30.0.10:9911", "[fd00:30::10]:9911"] {
        let _echo = Echo::tcp(&BED.control_plane, address(at));
        let host = at.rsplit_once(':').expect("a port").0.trim_matches(['[', ']']);
        let answer = BED.sh(&["--quiet"], &format!("exec bash -c 'timeout 60 cat < /dev/tcp/{host}/9911'"));
        assert!(answer.clone().ok().contains("decoy at"), "{at}: {answer:?}");
    }
}

#[test]
fn a_resolver_on_the_host_s_loopback_answers() {
    let _resolver = Echo::udp(&BED.node, address("127.0.0.53:53"));
    let script = "exec bash -c 'exec 3<>/dev/udp/127.0.0.53/53; for i in 1 2 3 4 5; do echo question >&3; timeout 5 head -n 1 <&3 && exit; done'";
    assert_eq!(BED.sh(&["--quiet"], script).ok(), "question\n");
}

#[test]
fn the_host_s_own_ports_are_closed() {
    let at = address("172.30.0.11:9912");
    let _echo = Echo::tcp(&BED.node, at);
    let reached = BED.control_plane.sh("exec bash -c 'timeout 60 cat < /dev/tcp/172.30.0.11/9912'");
    assert!(reached.contains("decoy"), "{reached}");
    let answer = BED.sh(&["--quiet"], "exec bash -c 'timeout 20 cat < /dev/tcp/172.30.0.11/9912'");
    assert!(!answer.out.contains("decoy"), "{answer:?}");
}

#[test]
fn every_way_to_the_api_server_s_own_address_meets_the_guard() {
    let ways = ["plain", "bound", "fast-open", "fast-open-connect", "multipath", "io-uring"];
    let lines: Vec<_> = ["172.30.0.10:6443", "[::ffff:172.30.0.10]:6443"]
        .iter()
        .flat_map(|to| ways.iter().map(move |way| format!("connect --to {to} --way {way}")))
        .collect();
    let script = format!("probe {}", lines.join("; probe "));
    let answer = BED.sh(&["--quiet"], &script);
    let found: Vec<guard_e2e::finding::Finding> =
        answer.out.lines().map(|line| serde_json::from_str(line).expect("a finding")).collect();
    assert_eq!(found.len(), lines.len(), "{answer:?}");
    for (line, finding) in lines.iter().zip(found) {
        if finding.outcome != Outcome::Unsupported {
            let issuer = finding.issuer.clone().unwrap_or_default();
            assert!(issuer.contains("egress-guard"), "{line}: {finding:?}");
        }
    }
}

#[test]
fn what_is_round_the_api_server_is_refused_and_counted() {
    let script = "for to in 172.30.0.10:10250 172.30.0.10:2379 169.254.169.254:80; do probe connect --to $to; done; \
                  probe datagram --to 172.30.0.10:6443";
    let answer = BED.sh(&[], script);
    for line in answer.out.lines() {
        let finding: guard_e2e::finding::Finding = serde_json::from_str(line).expect("a finding");
        assert_ne!(finding.outcome, Outcome::Met, "{finding:?}");
    }
    assert_eq!(answer.out.lines().count(), 4, "{answer:?}");
    assert!(answer.err.contains("refused at connect4") && answer.err.contains("refused at sendmsg4"), "{answer:?}");
}

/// A command under guard that waits, and the process of it.
fn waiting(word: &str, options: &[&str]) -> (Running, u32) {
    let script = format!("echo {word} >/dev/null; echo ready; read line; kubectl get nodes");
    let mut running = Running::start(&mut BED.command(options, &["sh", "-c", &script]));
    assert_eq!(running.line(LONG).trim(), "ready");
    let pid = eventually("the command's process", SOON, || Bed::process(word).ok_or("not there yet"));
    (running, pid)
}

/// A line of shell in the run's network, by somebody outside the run.
fn beside(pid: u32, uid: u32, line: &str) -> guard_e2e::harness::Answer {
    let mut command = std::process::Command::new("nsenter");
    let (target, user) = (pid.to_string(), uid.to_string());
    command.args(["--target", &target, "--net", "setpriv", "--reuid", &user, "--clear-groups", "sh", "-c", line]);
    run(command, "")
}

fn listening_port(pid: u32) -> u16 {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("the run's sockets");
    let port = table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port = fields.get(1)?.strip_prefix("0100007F:")?;
        (fields.get(3) == Some(&"0A")).then(|| u16::from_str_radix(port, 16).ok())?
    });
    port.expect("the guard's listener")
}

#[test]
fn nobody_outside_the_run_uses_its_listener() {
    let (mut running, pid) = waiting("word-of-the-listener", &[ALLOW]);
    let port = listening_port(pid);
    // The probe's folder is root's alone where it was built.
    let probe = "/tmp/egress-guard-e2e-run-probe";
    std::fs::copy(BED.home.join("tools/probe"), probe).expect("a copy of the probe");
    for uid in [0, super::bed::UID, 47_999] {
        let answer = beside(pid, uid, &format!("{probe} connect --to 127.0.0.1:{port}"));
        assert_ne!(finding(&answer).outcome, Outcome::Met, "{uid}: {answer:?}");
    }
    std::fs::remove_file(probe).expect("the copy");
    running.write("go on\n");
    let answer = running.wait(LONG);
    assert!(answer.out.contains("n1"), "{answer:?}");
    assert!(answer.err.contains("3 connections from outside the run refused"), "{answer:?}");
}

#[test]
fn what_is_sent_past_the_hooks_is_dropped_behind_the_veth() {
    let (mut running, pid) = waiting("word-of-the-veth", &[]);
    let probe = BED.home.join("tools/probe");
    for vector in ["connect --to 172.30.0.10:6443", "packet --to 172.30.0.10:6443"] {
        // Of no cgroup of the run, and with all capabilities.
        let answer = beside(pid, 0, &format!("{} {vector}", probe.display()));
        assert_ne!(finding(&answer).outcome, Outcome::Met, "{vector}: {answer:?}");
    }
    running.write("go on\n");
    let answer = running.wait(LONG);
    assert!(answer.out.contains("n1") && answer.err.contains("refused at veth_ingress"), "{answer:?}");
}
