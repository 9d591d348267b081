//! A network of the test's own, where packets can be lost.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Enters a network namespace with this thread, and so with the whole bed of the test. Needs root.
pub(crate) fn enter_own_network() {
    unshare(CloneFlags::CLONE_NEWNET).expect("entering a network namespace needs root");
    run("ip link set lo up");
}

/// From now on packets from and to these ports, in the test's own network, are sent and never arrive.
pub(crate) fn lose_packets(ports: &[u16]) {
    let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    run(&format!(
        "nft 'table inet loss {{ chain arriving {{ type filter hook input priority 0; \
         tcp dport {{ {ports} }} drop; tcp sport {{ {ports} }} drop; }}; }}'"
    ));
}

fn run(line: &str) {
    let status = Command::new("sh").args(["-c", line]).status().unwrap();
    assert!(status.success(), "{line}");
}
