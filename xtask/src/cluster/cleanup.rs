//! `cluster down`: ends all that belongs to a cluster, also what a crashed run left, and looks that nothing stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cluster, Name};
use crate::cgroup::Hierarchies;
use crate::mounts::{self, BPFFS};
use crate::netns;
use crate::paths::Paths;
use crate::process::{self, Recorded};
use crate::wait::Wait;

/// Longest that killed processes may take to end, on two busy cores with a busy disk.
pub(crate) const END: Duration = Duration::from_mins(1);

/// See [`super::down`]; the caller holds the cluster.
pub(super) fn down(paths: &Paths, name: &Name) -> Result<()> {
    stop(paths, name)?;
    let dir = Cluster::dir_of(paths, name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

/// Ends everything that runs or is mounted and keeps the state folder, with its logs.
pub(super) fn stop(paths: &Paths, name: &Name) -> Result<()> {
    let dir = Cluster::dir_of(paths, name);
    let hierarchies = Hierarchies::find()?;
    hierarchies.kill(&name.cgroup())?;
    end_processes(&dir, name)?;
    for folder in [name.run_dir(), dir.clone()] {
        mounts::unmount_below(&folder)?;
    }
    for machine in machines(name) {
        netns::remove(&name.netns(&machine))?;
    }
    hierarchies.remove(&name.cgroup())?;
    for pins in pins(name) {
        fs::remove_dir_all(&pins).with_context(|| format!("removing the BPF pins in {}", pins.display()))?;
    }
    remove_log_links(&dir);
    remove_cni_results(&name.run_dir());
    let run = name.run_dir();
    if run.exists() {
        fs::remove_dir_all(&run).with_context(|| format!("removing {}", run.display()))?;
    }
    let left = leftovers(name, &dir, &hierarchies)?;
    if !left.is_empty() {
        bail!("cluster {name} left something behind:\n{}", left.join("\n"));
    }
    mounts::release();
    Ok(())
}

/// What of a cluster is still there, other than its state folder.
fn leftovers(name: &Name, dir: &Path, hierarchies: &Hierarchies) -> Result<Vec<String>> {
    let mut left = Vec::new();
    left.extend(
        recorded(dir).iter().filter(|process| process.alive()).map(|p| format!("process {} ({})", p.pid, p.name)),
    );
    for folder in [name.run_dir().as_path(), dir] {
        left.extend(mounts::below(folder)?.iter().map(|point| format!("mount {}", point.display())));
    }
    left.extend(machines(name).iter().map(|machine| format!("namespace {}", name.netns(machine))));
    left.extend(hierarchies.present(&name.cgroup()).iter().map(|group| format!("cgroup {}", group.display())));
    left.extend(pins(name).iter().map(|pins| format!("BPF pins {}", pins.display())));
    Ok(left)
}

/// Those that are not in the cluster's cgroup: of a run that ended half-way, or moved by a test.
fn end_processes(dir: &Path, name: &Name) -> Result<()> {
    for process in recorded(dir) {
        process.signal(Signal::SIGKILL);
    }
    let mut namespaces: Vec<PathBuf> = machines(name).iter().map(|machine| netns::path(&name.netns(machine))).collect();
    namespaces.extend(pod_namespaces(name));
    let wait = Wait { part: "the end of what runs in the cluster's namespaces", log: dir, limit: END };
    wait.until(|| {
        let pids: Vec<i32> = namespaces.iter().flat_map(|namespace| process::in_netns(namespace)).collect();
        for pid in &pids {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        Ok((!pids.is_empty()).then(|| format!("still there: {pids:?}")))
    })
}

pub(super) fn recorded(dir: &Path) -> Vec<Recorded> {
    fs::read(dir.join("processes.json")).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// The machines of this cluster that have a namespace: `cp`, `cp2`, `n1`, …
fn machines(name: &Name) -> Vec<String> {
    let prefix = name.netns("");
    let files = fs::read_dir(mounts::NETNS).into_iter().flatten().flatten();
    files.filter_map(|file| machine_of(&prefix, &file.file_name().to_string_lossy())).collect()
}

/// `a-n1` may be a cluster's name too, so what follows the prefix must be a machine and no more.
fn machine_of(prefix: &str, file: &str) -> Option<String> {
    let machine = file.strip_prefix(prefix)?;
    let node = machine
        .strip_prefix('n')
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    (machine == "cp" || machine == "cp2" || node).then(|| machine.to_owned())
}

/// The pods' namespaces, which containerd keeps under its state folder.
fn pod_namespaces(name: &Name) -> Vec<PathBuf> {
    let nodes = fs::read_dir(name.run_dir()).into_iter().flatten().flatten();
    nodes.flat_map(|node| mounts::below(&node.path()).unwrap_or_default()).filter(|point| is_netns(point)).collect()
}

fn is_netns(point: &Path) -> bool {
    point.parent().is_some_and(|folder| folder.ends_with("netns"))
}

/// bpffs folders of this cluster: its own, and those with a node's name behind it.
fn pins(name: &Name) -> Vec<PathBuf> {
    let own = format!("egress-guard-{name}");
    let entries = fs::read_dir(BPFFS).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            file == own || machine_of(&format!("{own}-"), &file).is_some()
        })
        .map(|entry| entry.path())
        .collect()
}

/// The kubelet links every container's log into `/var/log/containers`, wherever `podLogsDir` is.
fn remove_log_links(dir: &Path) {
    for link in fs::read_dir("/var/log/containers").into_iter().flatten().flatten() {
        if fs::read_link(link.path()).is_ok_and(|target| target.starts_with(dir)) {
            let _ = fs::remove_file(link.path());
        }
    }
}

/// The CNI library keeps what each plugin answered in one place for the whole machine. Each names its pod's
/// namespace, and ours lie in our folder.
fn remove_cni_results(run: &Path) {
    let ours = format!("{}/", run.display());
    for file in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
        if fs::read_to_string(file.path()).is_ok_and(|text| text.contains(&ours)) {
            let _ = fs::remove_file(file.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_clusters_namespaces_are_not_taken() {
        assert_eq!(machine_of("egress-a-", "egress-a-cp").as_deref(), Some("cp"));
        assert_eq!(machine_of("egress-a-", "egress-a-cp2").as_deref(), Some("cp2"));
        assert_eq!(machine_of("egress-a-", "egress-a-n12").as_deref(), Some("n12"));
        for other in ["egress-a-b-cp", "egress-a-n1-cp", "egress-ab-cp", "egress-a-n", "egress-a-n1x", "other"] {
            assert_eq!(machine_of("egress-a-", other), None, "{other}");
        }
    }
}
