//! What the command sees of the machine's files, and what it may write.
//!
//! All is read-only but its working directory, what was named, and folders of its own (`/tmp`, `/run`, `/dev/shm`). In its home it may
//! write as well, to a layer that is thrown away: start-up files that others read later stay as they are.

use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use guard_kernel::confine::make_read_only;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change, mount_remount,
};

use crate::{Error, Setup, User};

/// Folders of the command's own, empty at first. `/var/run` is usually a link to `/run`.
const OWN: [(&str, u32); 4] = [("/run", 0o755), ("/var/run", 0o755), ("/tmp", 0o1777), ("/var/tmp", 0o1777)];
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];
/// Where the guard's own things are in the command's `/run`.
const GUARD: &str = "/run/egress-guard";
/// Where its kubeconfig is.
pub const KUBECONFIG: &str = "/run/egress-guard/kubeconfig";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// A home's layer is in memory.
const LAYER: &str = "mode=0700,size=25%";
const HIDDEN: &str = "mode=0700,size=16m";

/// Arranges everything. The caller is in a mount namespace of its own.
pub(super) fn arrange(setup: &Setup) -> Result<(), Error> {
    let root = Path::new("/");
    mount_change(root, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| Error::file("keeping apart the mounts at", root, "", error))?;
    // While everything still is where it was.
    let writable = setup.writable.iter().map(|path| Ok((path, hold(path)?))).collect::<Result<Vec<_>, Error>>()?;
    let devices = DEVICES.iter().map(|name| Ok((*name, hold(&Path::new("/dev").join(name))?)));
    let devices = devices.collect::<Result<Vec<_>, Error>>()?;
    let resolv_conf = fs::canonicalize(RESOLV_CONF).ok();
    make_read_only(root)?;
    new_proc()?;
    new_dev(&devices)?;
    for (path, mode) in OWN {
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
            tmpfs(Path::new(path), &format!("mode={mode:o}"))?;
        }
    }
    make_folder(Path::new(GUARD))?;
    let home = setup.user.home.as_path();
    if home != root && home.is_dir() {
        layer_home(home)?;
    }
    for (path, held) in &writable {
        if !path.exists() {
            make_folder(path)?;
        }
        bind(held, path)?;
    }
    for path in &setup.hidden {
        hide(path, &setup.user)?;
    }
    if let (Some(text), Some(file)) = (&setup.resolv_conf, resolv_conf.filter(|file| !file.exists())) {
        // It was in /run.
        file.parent().map_or(Ok(()), make_folder)?;
        write(&file, text, 0o644)?;
    }
    write(Path::new(KUBECONFIG), &setup.kubeconfig, 0o644)?;
    let usual = home.join(".kube");
    if usual.is_dir() {
        // For who does not look at KUBECONFIG.
        write(&usual.join("config"), &setup.kubeconfig, 0o644)?;
        give(&usual.join("config"), &setup.user)?;
    }
    Ok(())
}

/// A handle on what is there now, whatever is mounted over it later.
fn hold(path: &Path) -> Result<OwnedFd, Error> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::file("opening", path, "does it exist?", error))
}

fn new_proc() -> Result<(), Error> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).map_err(|error| Error::file("mounting a proc at", "/proc", "", error))
}

/// Without the machine's devices, and without the terminals of others.
fn new_dev(devices: &[(&str, OwnedFd)]) -> Result<(), Error> {
    tmpfs_with(Path::new("/dev"), "mode=0755,size=64k", MountFlags::NOSUID)?;
    for (name, device) in devices {
        let path = Path::new("/dev").join(name);
        File::create(&path).map_err(|error| Error::file("making", &path, "", error))?;
        mount_bind(format!("/proc/self/fd/{}", device.as_raw_fd()), &path)
            .map_err(|error| Error::file("binding", &path, "", error))?;
    }
    for (folder, mode) in [("/dev/pts", 0o755), ("/dev/shm", 0o1777)] {
        DirBuilder::new().mode(mode).create(folder).map_err(|error| Error::file("making", folder, "", error))?;
    }
    tmpfs(Path::new("/dev/shm"), "mode=1777")?;
    let options = c"newinstance,ptmxmode=0666,mode=0620";
    mount("devpts", "/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options)
        .map_err(|error| Error::file("mounting a devpts at", "/dev/pts", "", error))?;
    let links = [
        ("pts/ptmx", "/dev/ptmx"),
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    links
        .into_iter()
        .try_for_each(|(to, path)| symlink(to, path).map_err(|error| Error::file("making", path, "", error)))
}

/// What is written there goes to memory. Where the file system of the home bears no layer, it is read-only.
fn layer_home(home: &Path) -> Result<(), Error> {
    let folder = Path::new(GUARD).join("home");
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    let made = DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(|error| Error::file("making", &folder, "", error))?;
    tmpfs(&folder, LAYER)?;
    let look = fs::metadata(home).map_err(|error| Error::file("looking at", home, "", error))?;
    for path in [&upper, &work] {
        fs::create_dir(path).map_err(|error| Error::file("making", path, "", error))?;
    }
    fs::set_permissions(&upper, fs::Permissions::from_mode(look.mode() & 0o7777))
        .and_then(|()| chown(&upper, Some(look.uid()), Some(look.gid())))
        .map_err(|error| Error::file("making", &upper, "", error))?;
    // By links of ours: a path with a comma or a colon would end the option.
    let lower = folder.join("lower");
    symlink(home, &lower).map_err(|error| Error::file("making", &lower, "", error))?;
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let options = std::ffi::CString::new(options).expect("our own paths have no NUL");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let _ = mount("egress-guard", home, "overlay", flags, options.as_c_str());
    Ok(())
}

/// As it was held, and writable.
fn bind(held: &OwnedFd, path: &Path) -> Result<(), Error> {
    let failed = |error| Error::file("making writable", path, "", error);
    mount_bind_recursive(format!("/proc/self/fd/{}", held.as_raw_fd()), path).map_err(failed)?;
    mount_remount(path, MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV, c"").map_err(failed)
}

/// A folder is empty, and the command's to write; a file is empty.
fn hide(path: &Path, user: &User) -> Result<(), Error> {
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    if found.is_dir() {
        tmpfs(path, HIDDEN)?;
        return give(path, user);
    }
    let empty = Path::new(GUARD).join("empty");
    if !empty.exists() {
        write(&empty, "", 0o444)?;
    }
    mount_bind(&empty, path).map_err(|error| Error::file("hiding", path, "", error))
}

fn tmpfs(path: &Path, options: &str) -> Result<(), Error> {
    tmpfs_with(path, options, MountFlags::NOSUID | MountFlags::NODEV)
}

fn tmpfs_with(path: &Path, options: &str, flags: MountFlags) -> Result<(), Error> {
    let options = std::ffi::CString::new(options).expect("options of ours have no NUL");
    mount("tmpfs", path, "tmpfs", flags, options.as_c_str())
        .map_err(|error| Error::file("mounting a tmpfs at", path, "", error))
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|error| Error::file("making", path, "", error))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| Error::file("writing", path, "", error))
}

fn give(path: &Path, user: &User) -> Result<(), Error> {
    chown(path, Some(user.uid), Some(user.gid)).map_err(|error| Error::file("giving to the user", path, "", error))
}

/// Whether writing there would be for good though nothing of the project's is there: a home, the root, what is hidden anyway.
fn is_project(directory: &Path, home: &Path) -> bool {
    let own = OWN.iter().any(|(path, _)| directory == Path::new(path));
    let dotted = directory.strip_prefix(home).is_ok_and(|below| below.as_os_str().as_encoded_bytes().starts_with(b"."));
    let system = ["/etc", "/usr", "/bin", "/sbin", "/lib", "/boot", "/dev", "/proc", "/sys", "/run", "/var/run"];
    let is_system = system.iter().any(|path| directory.starts_with(path));
    !(own || dotted || is_system || home.starts_with(directory))
}

/// The working directory, if the command may write there for good, with what was named.
pub fn writable(directory: &Path, home: &Path, named: &[PathBuf]) -> Vec<PathBuf> {
    let project = is_project(directory, home).then(|| directory.to_owned());
    project.into_iter().chain(named.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_project_is_written_for_good() {
        let home = Path::new("/home/me");
        for path in ["/home/me/src/project", "/srv/work", "/tmp/checkout", "/builds/x"] {
            assert!(is_project(Path::new(path), home), "{path}");
        }
        for path in ["/", "/home", "/home/me", "/home/me/.config/autostart", "/tmp", "/etc/cron.d", "/run/x"] {
            assert!(!is_project(Path::new(path), home), "{path}");
        }
    }
}
