//! The node's cgroups, as the node itself sees them.
//!
//! In a cgroup namespace of its own, as container runtimes give one on cgroup2, a process sees the paths of others relative to its own
//! (`cgroup_namespaces(7)`): no pod could be told by them, nor the mount of the whole hierarchy from that of a part.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// Inode of the first cgroup namespace: `PROC_CGROUP_INIT_INO` in `include/linux/proc_ns.h`.
const FIRST: u64 = 0xefff_fffb;

/// Brings the calling thread, and those that it starts from here on, into the first cgroup namespace. Where it is there already, nothing
/// happens.
pub fn enter_the_nodes() -> Result<(), Error> {
    let hint = "a guard in a container needs hostPID, CAP_SYS_ADMIN and CAP_SYS_PTRACE";
    let failed = |call, error| Error::syscall(call, "entering the node's cgroup namespace", hint, error);
    if is_first(Path::new("/proc/thread-self")) {
        return Ok(());
    }
    // Any process of the node that has not left it will do: the kernel's own threads never do.
    let processes = fs::read_dir("/proc").map_err(|error| failed("readdir", error))?;
    let process = processes.flatten().map(|entry| entry.path()).find(|path| is_process(path) && is_first(path));
    let process = process.ok_or_else(|| failed("stat", io::Error::from(io::ErrorKind::NotFound)))?;
    let namespace = File::open(process.join("ns/cgroup")).map_err(|error| failed("open", error))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ControlGroup))
        .map_err(|error| failed("setns", io::Error::from(error)))
}

fn is_process(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
}

fn is_first(process: &Path) -> bool {
    fs::metadata(process.join("ns/cgroup")).is_ok_and(|metadata| metadata.ino() == FIRST)
}
