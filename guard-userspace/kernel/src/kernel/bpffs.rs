//! The file system that keeps links and maps alive when no process holds them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};

use crate::Error;

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Makes `directory` on a bpffs; mounts one at `/sys/fs/bpf` where nothing has, as systemd does at boot. Not in a container: that mount would end
/// with it, and the pins with the mount.
pub(super) fn ensure(directory: &Path) -> Result<(), Error> {
    if directory.starts_with(MOUNT_POINT) && !is_bpffs(Path::new(MOUNT_POINT))? && sees_the_nodes_mounts() {
        mount("bpf", MOUNT_POINT, "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None).map_err(
            |error| {
                let doing = format!("mounting a bpffs at {MOUNT_POINT}");
                Error::syscall(
                    "mount",
                    doing,
                    "mount it beforehand: `mount -t bpf bpf /sys/fs/bpf` needs CAP_SYS_ADMIN",
                    error,
                )
            },
        )?;
    }
    std::fs::create_dir_all(directory).map_err(|error| {
        let doing = format!("making the pin directory {}", directory.display());
        Error::syscall("mkdir", doing, "names there may hold no dots; is it on a bpffs, mounted read-write?", error)
    })?;
    if is_bpffs(directory)? { Ok(()) } else { Err(Error::NotBpffs { directory: directory.to_owned() }) }
}

/// This process has the mounts that the node's first process has. Where that can't be told, it has others.
fn sees_the_nodes_mounts() -> bool {
    let namespace = |process: &str| std::fs::metadata(format!("/proc/{process}/ns/mnt")).map(|found| found.ino());
    matches!((namespace("1"), namespace("self")), (Ok(node), Ok(own)) if node == own)
}

fn is_bpffs(path: &Path) -> Result<bool, Error> {
    let status = statfs(path)
        .map_err(|error| Error::syscall("statfs", format!("looking at {}", path.display()), "does it exist?", error))?;
    Ok(u64::try_from(status.f_type).is_ok_and(|magic| magic & 0xffff_ffff == BPF_FS_MAGIC))
}
