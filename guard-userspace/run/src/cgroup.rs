//! The command's own cgroup: the kernel's programs hang on it, and it ends with all that is in it.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Error;

/// How long processes may take to be gone once they are killed. One that waits for a dead network disk takes longer.
const GONE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Where the cgroup of a run is.
pub(crate) fn path(id: &str) -> Result<PathBuf, Error> {
    Ok(guard_workload::mount_point()?.join(format!("egress-guard-run-{id}")))
}

/// Makes it. It is root's, so that nobody but root moves a process in or out.
pub(crate) fn make(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().mode(0o755).create(path).map_err(|error| {
        let hint = "cgroup2 must be mounted read-write; a container needs --privileged and --cgroupns=host";
        Error::file("making the cgroup", path, hint, error)
    })
}

/// Puts a process into it.
pub(crate) fn enter(path: &Path, pid: u32) -> Result<(), Error> {
    let file = path.join("cgroup.procs");
    fs::write(&file, pid.to_string()).map_err(|error| Error::file("writing", &file, "", error))
}

/// Kills what is in it and below, and removes it. One that is gone is no error.
pub(crate) fn end(path: &Path) -> Result<(), Error> {
    let until = Instant::now() + GONE;
    loop {
        // A cgroup below it that is made meanwhile is killed by the next turn.
        let killed = fs::write(path.join("cgroup.kill"), "1");
        match remove(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > until => {
                let error = killed.err().unwrap_or(error);
                return Err(Error::file("removing the cgroup", path, "look at its cgroup.procs", error));
            }
            Err(_) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    for below in fs::read_dir(path)?.flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&below.path())?;
        }
    }
    fs::remove_dir(path)
}
