//! Cgroups of a cluster: one tree of its own, in cgroup2 and, on a hybrid machine, in each version 1 hierarchy.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cluster::END;
use crate::wait::Wait;

/// The mounted hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// Where cgroup2 is mounted.
    pub v2: PathBuf,
    /// Where version 1 controllers are mounted: empty on a pure cgroup2 machine.
    pub v1: Vec<PathBuf>,
}

impl Hierarchies {
    /// Finds them in this process's mount table; no path is taken for granted.
    pub fn find() -> Result<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
        parse(&table).context("cgroup2 is not mounted: try `mount -t cgroup2 none /sys/fs/cgroup/unified`")
    }

    /// Makes this path in every hierarchy.
    pub fn create(&self, path: &str) -> Result<()> {
        for mount in self.all() {
            let folder = mount.join(path);
            fs::create_dir_all(&folder).with_context(|| format!("making the cgroup {}", folder.display()))?;
        }
        // Where cgroup2 has the controllers, a child has only what its parents hand down; the kubelet wants them all.
        if self.v1.is_empty() { hand_down(&self.v2, path) } else { Ok(()) }
    }

    /// Kills all that runs in this tree of cgroup2 and waits until it is empty.
    pub fn kill(&self, path: &str) -> Result<()> {
        let folder = self.v2.join(path);
        if !folder.exists() {
            return Ok(());
        }
        fs::write(folder.join("cgroup.kill"), "1")
            .with_context(|| format!("killing the cgroup {}", folder.display()))?;
        let events = folder.join("cgroup.events");
        let wait = Wait { part: "the end of the cluster's processes", log: &events, limit: END };
        wait.until(|| {
            let state = fs::read_to_string(&events).unwrap_or_default();
            Ok(state.contains("populated 1").then(|| "the cgroup is still populated".to_owned()))
        })
    }

    /// Removes this tree from every hierarchy. Processes must be gone.
    pub fn remove(&self, path: &str) -> Result<()> {
        for mount in self.all() {
            remove_tree(&mount.join(path))?;
        }
        Ok(())
    }

    /// The folders of this tree that exist, one for each hierarchy that has it.
    pub fn present(&self, path: &str) -> Vec<PathBuf> {
        self.all().map(|mount| mount.join(path)).filter(|folder| folder.exists()).collect()
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.v2).chain(&self.v1)
    }
}

/// Enables every controller on the way from the mount to the parent of `path`.
fn hand_down(mount: &Path, path: &str) -> Result<()> {
    let steps = Path::new(path).components().count();
    let mut folders: Vec<PathBuf> = mount.join(path).ancestors().skip(1).take(steps).map(Path::to_owned).collect();
    folders.reverse();
    for folder in folders {
        let available = fs::read_to_string(folder.join("cgroup.controllers"))
            .with_context(|| format!("reading the controllers of {}", folder.display()))?;
        let wanted: Vec<String> = available.split_whitespace().map(|name| format!("+{name}")).collect();
        fs::write(folder.join("cgroup.subtree_control"), wanted.join(" "))
            .with_context(|| format!("handing the controllers of {} down", folder.display()))?;
    }
    Ok(())
}

/// A cgroup folder can't be emptied, only its child groups removed, deepest first.
fn remove_tree(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error)
            .with_context(|| format!("removing the cgroup {}: does a process still run in it?", folder.display())),
        _ => Ok(()),
    }
}

fn parse(table: &str) -> Option<Hierarchies> {
    let mut v2 = None;
    let mut v1 = Vec::new();
    for line in table.lines() {
        // Fields: id, parent, device, root, mount point, options, … " - " type, source, super options (proc(5)).
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let Some(point) = before.split(' ').nth(4) else { continue };
        match after.split(' ').next() {
            Some("cgroup2") if v2.is_none() => v2 = Some(PathBuf::from(point)),
            Some("cgroup") => v1.push(PathBuf::from(point)),
            _ => {}
        }
    }
    v2.map(|v2| Hierarchies { v2, v1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_found_in_a_hybrid_machine() {
        let table = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                     41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n\
                     27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n";
        let found = parse(table).unwrap();
        assert_eq!(found.v2, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(found.v1, [Path::new("/sys/fs/cgroup/cpu")]);
    }

    #[test]
    fn controllers_are_handed_down_to_the_parent_and_no_further() {
        let mount = tempfile::tempdir().unwrap();
        let leaf = mount.path().join("a/b");
        fs::create_dir_all(&leaf).unwrap();
        for folder in [mount.path(), &mount.path().join("a"), &leaf] {
            fs::write(folder.join("cgroup.controllers"), "cpu memory\n").unwrap();
        }
        hand_down(mount.path(), "a/b").unwrap();
        let control = |folder: &Path| fs::read_to_string(folder.join("cgroup.subtree_control")).ok();
        assert_eq!(control(mount.path()).as_deref(), Some("+cpu +memory"));
        assert_eq!(control(&mount.path().join("a")).as_deref(), Some("+cpu +memory"));
        assert_eq!(control(&leaf), None);
    }

    #[test]
    fn a_machine_without_cgroup2_is_told_so() {
        assert_eq!(parse("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }
}
