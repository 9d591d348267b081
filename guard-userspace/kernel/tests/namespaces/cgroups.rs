//! A guard in a container, which has cgroups of its own.

use guard_kernel::cgroup_namespace::enter_the_nodes;
use nix::sched::{CloneFlags, unshare};

fn own() -> std::path::PathBuf {
    std::fs::read_link("/proc/thread-self/ns/cgroup").unwrap()
}

#[test]
fn a_thread_finds_its_way_to_the_nodes_cgroups() {
    let nodes = std::fs::read_link("/proc/2/ns/cgroup").unwrap();
    let seen = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWCGROUP).unwrap();
        let apart = own();
        enter_the_nodes().unwrap();
        let entered = own();
        enter_the_nodes().unwrap();
        (apart, entered, own())
    });
    let (apart, entered, again) = seen.join().unwrap();
    assert_ne!(apart, nodes);
    assert_eq!((&entered, &again), (&nodes, &nodes));
}
