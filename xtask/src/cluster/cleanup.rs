//! `cluster down`: ends all that belongs to a cluster, also what a crashed run left, and looks that nothing stays.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cluster, Name};
use crate::cgroup::Hierarchies;
use crate::netns;
use crate::paths::Paths;
use crate::process::{self, Recorded};
use crate::wait::Wait;

/// Where bpffs is, and whether `up` had to mount it.
const BPFFS: &str = "/sys/fs/bpf";

/// Ends the cluster and removes its state. What is not there is no error.
pub fn down(paths: &Paths, name: &Name) -> Result<()> {
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
        unmount_below(&folder)?;
    }
    for machine in machines(name) {
        netns::remove(&name.netns(&machine))?;
    }
    hierarchies.remove(&name.cgroup())?;
    for pins in pins(name) {
        fs::remove_dir_all(&pins).with_context(|| format!("removing the BPF pins in {}", pins.display()))?;
    }
    remove_log_links(&dir);
    let run = name.run_dir();
    if run.exists() {
        fs::remove_dir_all(&run).with_context(|| format!("removing {}", run.display()))?;
    }
    let left = leftovers(name, &dir, &hierarchies)?;
    if !left.is_empty() {
        bail!("cluster {name} left something behind:\n{}", left.join("\n"));
    }
    release_bpffs();
    Ok(())
}

/// What of a cluster is still there, other than its state folder.
fn leftovers(name: &Name, dir: &Path, hierarchies: &Hierarchies) -> Result<Vec<String>> {
    let mut left = Vec::new();
    left.extend(recorded(dir).iter().filter(|process| process.alive()).map(|p| format!("process {} ({})", p.pid, p.name)));
    for folder in [name.run_dir().as_path(), dir] {
        left.extend(mounts_below(folder)?.iter().map(|point| format!("mount {}", point.display())));
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
    let wait = Wait { part: "the end of what runs in the cluster's namespaces", log: dir, limit: Duration::from_secs(20) };
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

/// The machines of this cluster that have a namespace: `cp`, `n1`, …
fn machines(name: &Name) -> Vec<String> {
    let prefix = name.netns("");
    let files = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    files.filter_map(|file| machine_of(&prefix, &file.file_name().to_string_lossy())).collect()
}

/// `a-n1` may be a cluster's name too, so what follows the prefix must be a machine and no more.
fn machine_of(prefix: &str, file: &str) -> Option<String> {
    let machine = file.strip_prefix(prefix)?;
    let node = machine.strip_prefix('n').is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    (machine == "cp" || node).then(|| machine.to_owned())
}

/// The pods' namespaces, which containerd keeps under its state folder.
fn pod_namespaces(name: &Name) -> Vec<PathBuf> {
    let nodes = fs::read_dir(name.run_dir()).into_iter().flatten().flatten();
    nodes.flat_map(|node| mounts_below(&node.path()).unwrap_or_default()).filter(|point| is_netns(point)).collect()
}

fn is_netns(point: &Path) -> bool {
    point.parent().is_some_and(|folder| folder.ends_with("netns"))
}

fn unmount_below(folder: &Path) -> Result<()> {
    // Children come after their parents in the table, so the last goes first.
    for point in mounts_below(folder)?.iter().rev() {
        match umount2(point, MntFlags::MNT_DETACH) {
            // A parent that was detached took it along.
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("unmounting {}", point.display())),
        }
    }
    Ok(())
}

fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    Ok(mount_points(&table).filter(|point| point.starts_with(folder)).collect())
}

fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> + '_ {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape)
}

/// Space, tab, newline and backslash are written as three octal digits (proc(5)).
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                out.push(code);
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
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

fn mounted_marker() -> PathBuf {
    Path::new("/run/egress-guard").join("bpffs-is-ours")
}

/// Mounts bpffs if the machine has not.
pub(super) fn ensure_bpffs() -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    if mount_points(&table).any(|point| point == Path::new(BPFFS)) {
        return Ok(());
    }
    nix::mount::mount(Some("bpf"), BPFFS, Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mount -t bpf bpf {BPFFS}: does the kernel have CONFIG_BPF_SYSCALL?"))?;
    fs::write(mounted_marker(), "").context("remembering that bpffs was mounted here")
}

/// Takes bpffs away again if `up` mounted it and nothing is pinned there.
fn release_bpffs() {
    let empty = fs::read_dir(BPFFS).is_ok_and(|mut entries| entries.next().is_none());
    let others = fs::read_dir("/run/egress-guard").into_iter().flatten().flatten().any(|entry| entry.path().is_dir());
    if empty && !others && mounted_marker().exists() && umount2(BPFFS, MntFlags::empty()).is_ok() {
        let _ = fs::remove_file(mounted_marker());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_clusters_namespaces_are_not_taken() {
        assert_eq!(machine_of("egress-a-", "egress-a-cp").as_deref(), Some("cp"));
        assert_eq!(machine_of("egress-a-", "egress-a-n12").as_deref(), Some("n12"));
        for other in ["egress-a-b-cp", "egress-a-n1-cp", "egress-ab-cp", "egress-a-n", "egress-a-n1x", "other"] {
            assert_eq!(machine_of("egress-a-", other), None, "{other}");
        }
    }

    #[test]
    fn mount_points_with_spaces_are_read_as_they_are() {
        let table = "41 31 0:38 / /a\\040b rw - tmpfs tmpfs rw\n42 31 0:38 / /c\\134d rw - tmpfs tmpfs rw\n";
        assert_eq!(mount_points(table).collect::<Vec<_>>(), [Path::new("/a b"), Path::new("/c\\d")]);
    }
}
