//! Named network namespaces: a file in `/run/netns` keeps each alive, as `ip netns` does it, so `ip -n NAME` works on them.
//!
//! They are entered by `nsenter --net` or `setns` alone. `ip netns exec` would mount another `/sys` and hide the cgroup
//! mounts, and the kubelet would not start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::mounts;

/// Where the namespace of this name is kept.
pub fn path(name: &str) -> PathBuf {
    Path::new(mounts::NETNS).join(name)
}

/// Makes a namespace and keeps it under its name.
pub fn create(name: &str) -> Result<PathBuf> {
    let path = path(name);
    mounts::ensure_netns_folder()?;
    File::create_new(&path)
        .with_context(|| format!("making {}: is a namespace of this name still there?", path.display()))?;
    let target = path.clone();
    // unshare changes the calling thread alone, so the thread ends with the namespace that it made and kept.
    on_a_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET): CAP_SYS_ADMIN is needed")?;
        mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("mount --bind of the namespace on {}", target.display()))
    })?;
    Ok(path)
}

/// Lets go of the namespace; it ends with its last process.
pub fn remove(name: &str) -> Result<()> {
    let path = path(name);
    if !path.exists() {
        return Ok(());
    }
    while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
}

/// Runs a closure inside the namespace at `path`, on a thread that ends with it.
pub fn run_in<T: Send + 'static>(path: &Path, job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let file = File::open(path).with_context(|| format!("opening the namespace {}", path.display()))?;
    let shown = path.display().to_string();
    on_a_thread(move || {
        setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("setns({shown}): CAP_SYS_ADMIN is needed"))?;
        job()
    })
}

/// A command that runs inside the namespace at `path`.
pub fn command_in(path: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", path.display())).arg("--").arg(program);
    command
}

fn on_a_thread<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    thread::spawn(job).join().map_err(|_| anyhow!("the thread in the namespace panicked"))?
}
