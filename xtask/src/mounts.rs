//! The mount table, and the two mounts that a machine may lack: bpffs, and `/run/netns` as `ip netns` makes it.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::sysctl;

/// Where the BPF file system belongs.
pub const BPFFS: &str = "/sys/fs/bpf";
/// Where `ip netns` keeps namespaces.
pub const NETNS: &str = "/run/netns";
/// The folder of all clusters' sockets. What was changed on the machine is remembered here, so that the last `cluster down` undoes it.
pub const OURS: &str = "/run/egress-guard";

/// The mount points below a folder, parents before children.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(points()?.into_iter().filter(|point| point.starts_with(folder)).collect())
}

/// Unmounts all that is mounted below a folder.
pub fn unmount_below(folder: &Path) -> Result<()> {
    // Children come after their parents in the table, so the last goes first.
    for point in below(folder)?.iter().rev() {
        match umount2(point, MntFlags::MNT_DETACH) {
            // A parent that was detached took it along.
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("unmounting {}", point.display())),
        }
    }
    Ok(())
}

/// Mounts bpffs if the machine has not.
pub fn ensure_bpffs() -> Result<()> {
    ensure(BPFFS, "bpffs", || {
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount -t bpf bpf {BPFFS}: does the kernel have CONFIG_BPF_SYSCALL?"))
    })
}

/// Makes `/run/netns` a shared mount of its own, as the first `ip netns add` does. If that came after ours, it would cover our
/// namespaces with copies, and nobody could unmount what lies beneath.
pub fn ensure_netns_folder() -> Result<()> {
    fs::create_dir_all(NETNS).with_context(|| format!("making {NETNS}"))?;
    ensure(NETNS, "netns", || {
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(NETNS), NETNS, None::<&str>, bind, None::<&str>)
            .with_context(|| format!("mount --rbind {NETNS} {NETNS}"))?;
        mount(None::<&str>, NETNS, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>)
            .with_context(|| format!("mount --make-rshared {NETNS}"))
    })
}

/// Makes a folder a shared mount, as `/` is where systemd runs: what is mounted below it later reaches containers that asked for that
/// (`mountPropagation: HostToContainer`).
pub fn share(folder: &Path) -> Result<()> {
    if points()?.iter().any(|mounted| mounted == folder) {
        return Ok(());
    }
    mount(Some(folder), folder, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("mount --bind {0} {0}", folder.display()))?;
    mount(None::<&str>, folder, None::<&str>, MsFlags::MS_SHARED, None::<&str>)
        .with_context(|| format!("mount --make-shared {}", folder.display()))
}

/// After the last cluster: takes both away again, if they were mounted here and nothing is in them, and puts settings back.
pub fn release() {
    let Ok(entries) = fs::read_dir(OURS) else { return };
    if entries.flatten().any(|entry| entry.path().is_dir()) {
        return; // another cluster stands
    }
    for (point, name) in [(BPFFS, "bpffs"), (NETNS, "netns")] {
        let empty =
            fs::read_dir(point).is_ok_and(|entries| !entries.flatten().any(|entry| !is_kernels_own(&entry.path())));
        if empty && marker(name).exists() && umount2(point, MntFlags::empty()).is_ok() {
            // A marker that stays is harmless: the next `release` finds nothing mounted.
            let _ = fs::remove_file(marker(name));
        }
    }
    sysctl::restore(Path::new(OURS));
    // Not empty while a marker is left.
    let _ = fs::remove_dir(OURS);
}

/// The kernel puts `maps.debug` and `progs.debug` into every bpffs (its preloaded iterators).
fn is_kernels_own(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "debug")
}

fn ensure(point: &str, name: &str, mount: impl FnOnce() -> Result<()>) -> Result<()> {
    if points()?.iter().any(|mounted| mounted == Path::new(point)) {
        return Ok(());
    }
    fs::create_dir_all(OURS).with_context(|| format!("making {OURS}"))?;
    mount()?;
    fs::write(marker(name), "").with_context(|| format!("remembering in {OURS} that {point} was mounted here"))
}

fn marker(name: &str) -> PathBuf {
    Path::new(OURS).join(format!("{name}.mounted-here"))
}

fn points() -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    Ok(parse(&table))
}

/// The fifth field of each line (proc(5)).
fn parse(table: &str) -> Vec<PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect()
}

/// Space, tab, newline and backslash are written as three octal digits (proc(5)).
fn unescape(text: &str) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        if let (b'\\', Some(code)) = (first, code) {
            out.push(code);
            rest = &tail[3..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_spaces_are_read_as_they_are() {
        let table = "41 31 0:38 / /a\\040b rw - tmpfs tmpfs rw\n42 31 0:38 / /c\\134d rw - tmpfs tmpfs rw\n";
        assert_eq!(parse(table), [Path::new("/a b"), Path::new("/c\\d")]);
    }
}
