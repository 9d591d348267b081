//! How a run ends, and what is left of it.

use std::fs;
use std::time::Duration;

use guard_e2e::harness::{NodeNetns, Running, SOON, eventually, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::BED;
use super::bed::Bed;

const LONG: Duration = Duration::from_mins(2);

/// The children of a process, and theirs.
fn guard_of(pid: u32) -> Pid {
    // `unshare` and the shell became the guard, by exec.
    Pid::from_raw(pid.cast_signed())
}

#[test]
fn exit_codes_are_the_command_s_own_or_the_guard_s() {
    for (command, code) in [
        (&["sh", "-c", "exit 42"][..], 42),
        (&["sh", "-c", "kill -KILL $$"][..], 128 + 9),
        (&["there-is-no-such-command"][..], 127),
        (&["/etc/passwd"][..], 126),
    ] {
        let answer = run(BED.command(&["--quiet"], command), "");
        assert_eq!(answer.status.code(), Some(code), "{command:?}: {answer:?}");
    }
    let answer = run(BED.command(&["--no-such-option"], &["true"]), "");
    assert_eq!(answer.status.code(), Some(125), "{answer:?}");
}

#[test]
fn standard_streams_are_the_command_s_own() {
    let answer = run(BED.command(&["--quiet"], &["sh", "-c", "cat; echo error >&2"]), "some input\n");
    assert_eq!((answer.out.as_str(), answer.err.as_str()), ("some input\n", "error\n"));
}

#[test]
fn a_terminal_and_its_size_are_the_command_s_own() {
    let script = "stty rows 33 cols 77; exec \"$@\"";
    let inner = BED.command(&["--quiet"], &["sh", "-c", "stty size; test -t 0 && echo terminal"]);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let line: Vec<_> = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"))).collect();
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &format!("sh -c '{script}' sh {}", line.join(" ")), "/dev/null"]);
    command.env("PATH", "/home/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    let answer = run(command, "");
    assert!(answer.out.contains("33 77") && answer.out.contains("terminal"), "{answer:?}");
}

#[test]
fn signals_to_the_guard_are_the_command_s() {
    let script = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let mut running = Running::start(&mut BED.command(&["--quiet"], &["sh", "-c", script, "word-of-the-signals"]));
    assert_eq!(running.line(LONG).trim(), "ready");
    kill(guard_of(running.id()), Signal::SIGTERM).expect("the guard runs");
    let answer = running.wait(LONG);
    assert!(answer.out.contains("told"), "{answer:?}");
    assert_eq!(answer.status.code(), Some(9), "{answer:?}");
}

#[test]
fn a_command_that_stops_itself_stops_the_guard_with_it_and_goes_on_with_it() {
    let script = "echo ready; kill -STOP $$; echo went on";
    let mut running = Running::start(&mut BED.command(&["--quiet"], &["sh", "-c", script]));
    assert_eq!(running.line(LONG).trim(), "ready");
    let stat = format!("/proc/{}/stat", running.id());
    let is_stopped = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "));
    eventually("the guard to stop", SOON, || if is_stopped() { Ok(()) } else { Err("it runs") });
    kill(guard_of(running.id()), Signal::SIGCONT).expect("the guard is there");
    let answer = running.wait(LONG);
    assert!(answer.out.contains("went on"), "{answer:?}");
}

/// What a run changes while it lives, as text.
fn settings(machine: &NodeNetns) -> String {
    machine.sh("nft list tables; ip -o link; ip -o addr; ip route show table all; ip -6 route show table all; ip rule; \
                grep -r . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/forwarding \
                /proc/sys/net/ipv6/conf/*/accept_ra | sort")
}

/// A machine of its own, on which nothing forwards: with the way to the API server, and nothing else. Dropped, it is gone.
struct QuietMachine(NodeNetns);

impl Drop for QuietMachine {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "del", &self.0.path().file_name().expect("a name").to_string_lossy()]);
        run(command, "");
    }
}

fn quiet_machine() -> QuietMachine {
    let name = format!("{}-quiet", BED.cluster.name.as_str());
    let name = format!("egress-{name}");
    let cp = BED.cluster.control_plane_netns.display().to_string();
    let script = format!(
        "ip netns del {name} 2>/dev/null; ip netns add {name} && ip -n {name} link set lo up && \
         nsenter --net={cp} ip link del quiet 2>/dev/null; \
         nsenter --net={cp} ip link add quiet type veth peer name uplink netns {name} && \
         nsenter --net={cp} ip addr add 172.31.9.1/24 dev quiet && nsenter --net={cp} ip link set quiet up && \
         ip -n {name} link set uplink addrgenmode none && ip -n {name} addr add 172.31.9.2/24 dev uplink && ip -n {name} link set uplink up && \
         ip -n {name} route add default via 172.31.9.1"
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]);
    run(command, "").ok();
    QuietMachine(NodeNetns::new(std::path::Path::new(&format!("/run/netns/{name}"))))
}

#[test]
fn nothing_is_left_and_the_host_s_settings_are_as_before_even_after_kill_9() {
    let quiet = quiet_machine();
    let machine = &quiet.0;
    assert_eq!(
        machine.sh("cat /proc/sys/net/ipv4/ip_forward").trim(),
        "0",
        "the test needs a machine that does not forward"
    );
    let before = settings(machine);
    let answer = run(BED.command_in(machine, &["--quiet"], &["kubectl", "get", "nodes"]), "");
    assert!(answer.clone().ok().contains("n1"), "{answer:?}");
    assert_eq!(settings(machine), before);

    let script = "echo ready; while :; do sleep 0.1; done";
    let word = "word-of-the-killed";
    let mut running = Running::start(&mut BED.command_in(machine, &["--quiet"], &["sh", "-c", script, word]));
    assert_eq!(running.line(LONG).trim(), "ready");
    assert!(machine.sh("nft list tables").contains("egress_guard_run_"));
    assert_eq!(machine.sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
    assert!(Bed::process(word).is_some());
    let cgroup = cgroup_of(word);
    kill(guard_of(running.id()), Signal::SIGKILL).expect("the guard runs");
    running.wait(LONG);
    eventually("the command to be killed", SOON, || Bed::process(word).map_or(Ok(()), Err));
    eventually("everything to be as before", SOON, || {
        let now = settings(machine);
        if now == before && !cgroup.exists() { Ok(()) } else { Err(now) }
    });
}

fn cgroup_of(word: &str) -> std::path::PathBuf {
    let pid = Bed::process(word).expect("the command runs");
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroup");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("a cgroup of the second version");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let point = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    std::path::Path::new(point.expect("a mount of cgroup2")).join(path)
}
