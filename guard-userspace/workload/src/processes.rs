//! The processes of a cgroup and the namespaces they are in.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use guard_identity::PodUid;
use guard_kernel::netns::{Netns, NetnsId};

use crate::pod_cgroup::{PodCgroup, pod_uid_in};

/// How many cgroups below a pod's are looked at. An agent may make some of its own (`cgroup.max.descendants` bounds them at best).
const MAX_CGROUPS: usize = 1024;

/// Processes of a pod without the label that are looked at.
const MAX_LOOKS: usize = 16;

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    /// When it started, in clock ticks since boot; first, so that processes order by age.
    started: u64,
    /// Its number in the guard's PID namespace.
    pub(crate) pid: u32,
}

/// A process and the network namespace it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) process: Process,
    pub(crate) netns: NetnsId,
}

impl Process {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { started: start_time(&stat)?, pid })
    }

    /// The process still runs, and its number has not passed to another.
    pub(crate) fn runs(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// The network namespace it is in now.
    pub(crate) fn netns(self) -> Option<NetnsId> {
        let metadata = fs::metadata(format!("/proc/{}/ns/net", self.pid)).ok()?;
        self.runs().then(|| NetnsId { dev: metadata.dev(), ino: metadata.ino() })
    }

    /// It is in this cgroup or one below it.
    pub(crate) fn is_in(self, cgroup: &Path) -> bool {
        processes(cgroup).any(|pid| pid == self.pid) && self.runs()
    }
}

/// The oldest process of a pod that is outside the node's own network namespace.
///
/// That is the pod's sandbox: the runtime starts it before any container, and no process that the agent starts can be older. (The
/// runtime's own first process is in the node's namespace for a moment, before it joins the pod's.)
pub(crate) fn sandbox(cgroup: &Path, node: NetnsId) -> Option<Placed> {
    let mut by_age: Vec<_> = processes(cgroup).filter_map(Process::of).collect();
    by_age.sort_unstable();
    by_age
        .into_iter()
        .find_map(|process| process.netns().filter(|netns| *netns != node).map(|netns| Placed { process, netns }))
}

/// The network namespace of a pod that has one of its own, by one of its first processes: who hides there from being looked at hides nothing from
/// enforcement.
pub fn netns_of(pod: &PodCgroup, node: NetnsId) -> Option<Netns> {
    let mut first = processes(&pod.path).take(MAX_LOOKS).filter_map(Process::of);
    let process = first.find(|process| process.netns().is_some_and(|netns| netns != node))?;
    let netns = Netns::of_process(process.pid).ok()?;
    // The number may have passed to a process of the node meanwhile.
    (process.runs() && netns.identity().ok()? != node).then_some(netns)
}

/// Another pod than `own` with a process in this network namespace.
///
/// Processes of the node itself may visit a pod's namespace (CNI plugins, an administrator); they are no pod.
pub(crate) fn other_pod_in(netns: NetnsId, own: &PodUid) -> Option<PodUid> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let process = Process::of(pid)?;
        if process.netns()? != netns {
            return None;
        }
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
        pod_uid_in(path).filter(|uid| uid != own)
    })
}

/// This very process is in the cgroup or below it.
pub(crate) fn is_own(cgroup: &Path) -> bool {
    processes(cgroup).any(|pid| pid == std::process::id())
}

/// No process is in the cgroup or below it. A cgroup that can't be read any more has none either.
pub(crate) fn is_empty(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.events"))
        .map_or(true, |events| events.lines().any(|line| line == "populated 0"))
}

/// The ids of a cgroup and of all below it: where a socket of the pod may have been made.
pub fn cgroup_ids(cgroup: &Path) -> HashSet<u64> {
    subtree(cgroup).filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.ino()).collect()
}

fn processes(cgroup: &Path) -> impl Iterator<Item = u32> {
    let pids: BTreeSet<u32> = subtree(cgroup)
        .filter_map(|path| fs::read_to_string(path.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.into_iter()
}

/// The directory and all below it, breadth first, so that what the runtime made comes before what an agent hides deep below.
fn subtree(cgroup: &Path) -> impl Iterator<Item = PathBuf> {
    let mut waiting = std::collections::VecDeque::from([cgroup.to_owned()]);
    std::iter::from_fn(move || {
        let next = waiting.pop_front()?;
        let children = fs::read_dir(&next).into_iter().flatten().flatten();
        waiting.extend(
            children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
        Some(next)
    })
    .take(MAX_CGROUPS)
}

/// Field 22 of `/proc/PID/stat`. The second field holds the command in parentheses, and the command may hold anything.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_start_time_is_read_past_a_command_with_parentheses() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2 3";
        assert_eq!(start_time(stat), Some(4242));
    }

    #[test]
    fn an_older_process_comes_first() {
        let (old, young) = (Process { started: 1, pid: 900 }, Process { started: 2, pid: 3 });
        assert!(old < young);
    }

    #[test]
    fn a_process_that_ended_runs_no_more() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.runs());
        assert!(process.netns().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.runs());
        assert_eq!(process.netns(), None);
    }

    #[test]
    fn processes_of_all_cgroups_below_are_found() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("container/own")).unwrap();
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        fs::write(root.path().join("container/cgroup.procs"), "3\n4\n").unwrap();
        fs::write(root.path().join("container/own/cgroup.procs"), "5\n").unwrap();
        assert_eq!(processes(root.path()).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(cgroup_ids(root.path()).len(), 3);
    }

    #[test]
    fn a_cgroup_is_empty_when_the_kernel_says_so_or_when_it_is_gone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        assert!(!is_empty(root.path()));
        fs::write(root.path().join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        assert!(is_empty(root.path()));
        assert!(is_empty(&root.path().join("gone")));
    }
}
