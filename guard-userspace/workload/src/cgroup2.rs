//! Where cgroup2 is mounted. On hybrid machines it is `/sys/fs/cgroup/unified`, so nothing is assumed.

use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

/// Why the cgroup2 hierarchy could not be found.
#[derive(Debug, Error)]
pub enum Cgroup2Error {
    /// `/proc/self/mountinfo` could not be read.
    #[error("reading {path} failed: {source}; is /proc mounted?", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No mount has the type `cgroup2`.
    #[error(
        "no cgroup2 mount in /proc/self/mountinfo; mount the node's /sys/fs/cgroup into the guard's container, read-write"
    )]
    NotMounted,
}

/// The mount point of the cgroup2 hierarchy of this machine.
pub fn mount_point() -> Result<PathBuf, Cgroup2Error> {
    let path = Path::new("/proc/self/mountinfo");
    let mounts = fs::read_to_string(path).map_err(|source| Cgroup2Error::Read { path: path.to_owned(), source })?;
    find(&mounts).ok_or(Cgroup2Error::NotMounted)
}

/// The first cgroup2 mount that shows the hierarchy from its root, else the first at all.
///
/// A bind mount of a part of the hierarchy has another fourth field than `/`. proc(5) describes the format.
fn find(mountinfo: &str) -> Option<PathBuf> {
    let mounts = || {
        mountinfo.lines().filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            filesystem.starts_with("cgroup2 ").then_some((root, point))
        })
    };
    let (_, point) = mounts().find(|(root, _)| *root == "/").or_else(|| mounts().next())?;
    Some(PathBuf::from(unescape(point)))
}

/// Mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";

    #[test]
    fn cgroup2_is_found_on_hybrid_machines() {
        assert_eq!(find(HYBRID), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_mount_of_the_whole_hierarchy_comes_before_one_of_a_part() {
        let mounts = "\
1 0 0:38 /kubepods /part rw - cgroup2 cgroup2 rw
2 0 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
";
        assert_eq!(find(mounts), Some(PathBuf::from("/sys/fs/cgroup")));
    }

    #[test]
    fn a_machine_without_cgroup2_is_told_apart() {
        assert_eq!(find("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }
}
