//! The node's cgroups, as the node itself sees them.
//!
//! In a cgroup namespace of its own, as container runtimes give one on cgroup2, a process sees the paths of others relative to its own
//! (cgroup_namespaces(7)): no pod could be told by them, nor the mount of the whole hierarchy from that of a part.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// The node's first process, if PIDs are the node's.
const OF_THE_NODE: &str = "/proc/1/ns/cgroup";
const OWN: &str = "/proc/thread-self/ns/cgroup";

/// Brings the calling thread, and those that it starts from here on, into the cgroup namespace of process 1. Where it is there already, nothing
/// happens.
pub fn enter_the_nodes() -> Result<(), Error> {
    let failed = |call, error| {
        let hint = "a guard in a container needs hostPID, CAP_SYS_ADMIN and CAP_SYS_PTRACE";
        Error::syscall(call, format!("entering the cgroup namespace {OF_THE_NODE}"), hint, error)
    };
    let inode = |path| std::fs::metadata(path).map(|metadata| metadata.ino());
    match inode(OWN) {
        Ok(own) if own == inode(OF_THE_NODE).map_err(|error| failed("stat", error))? => Ok(()),
        Ok(_) => {
            let namespace = File::open(OF_THE_NODE).map_err(|error| failed("open", error))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ControlGroup))
                .map_err(|error| failed("setns", io::Error::from(error)))
        }
        Err(error) => Err(failed("stat", error)),
    }
}
