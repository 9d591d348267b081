//! A gigabyte by `kubectl cp`, both ways, in little memory of the guard's.

use std::time::{Duration, Instant};

use guard_e2e::harness::{Agent, Pod, PodPlan, World};

const BYTES: u64 = 1 << 30;
/// What the guard's process may hold, all of it, meanwhile.
const GUARD_BYTES: u64 = 64 << 20;
const LONG: Duration = Duration::from_mins(15);

#[test]
fn a_gigabyte_is_copied_both_ways_in_64_mb_of_memory() {
    let world = World::guarded();
    let [agent, target] = world.pods(&[PodPlan::agent("copier", Agent("chatgpt")), PodPlan::ordinary("copied").on(1)]);
    // Random, so that no half of it is like the other.
    agent.sh(&format!("head -c {BYTES} /dev/urandom > /tmp/original")).ok();
    let sum = |pod: &Pod, file: &str| pod.sh(&format!("sha256sum < {file}")).ok();
    let original = sum(&agent, "/tmp/original");
    for websockets in ["true", "false"] {
        for (from, to) in [("/tmp/original", "copied:/tmp/there"), ("copied:/tmp/there", "/tmp/back")] {
            let guard = world.guard_of(&agent);
            guard.forget_peak();
            let start = Instant::now();
            let copy = format!("KUBECTL_REMOTE_COMMAND_WEBSOCKETS={websockets} kubectl cp {from} {to}");
            agent.start(["sh", "-c", &copy]).wait(LONG).ok();
            let peak = guard.memory_peak();
            let took = start.elapsed().as_secs_f64();
            eprintln!("WebSocket {websockets}, {from} to {to}: {took:.0} s; the guard held {} MB", peak >> 20);
            assert!(peak < GUARD_BYTES, "the guard held {} MB", peak >> 20);
        }
        assert_eq!(sum(&target, "/tmp/there"), original);
        assert_eq!(sum(&agent, "/tmp/back"), original);
        target.sh("rm /tmp/there").ok();
        agent.sh("rm /tmp/back").ok();
    }
}
