//! What is known of each run outside its processes, so that whoever comes later can tidy up after it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use guard_kernel::netfilter::delete_tables;
use guard_kernel::netns::Netns;
use guard_kernel::veth;
use rand::Rng as _;
use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};
use serde::{Deserialize, Serialize};

use crate::forwarding::Before;
use crate::network::interface;
use crate::{Error, cgroup};

/// Of the machine, gone when it restarts, as everything that it tells of.
const FOLDER: &str = "/run/egress-guard-run";
/// Below a run's folder.
const LOCK: &str = "lock";
const RECORD: &str = "run.json";

/// One run. Its folder is locked for as long as one of its processes lives.
#[derive(Debug)]
pub struct Run {
    /// Eight hexadecimal digits.
    pub id: String,
    lock: File,
    record: Record,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    cgroup: PathBuf,
    /// The network namespace whose tables and settings are meant, by device and inode.
    host: (u64, u64),
}

impl Run {
    /// Begins a run: its number is its own from here on. Tidies up first after those that could not do so themselves.
    pub fn begin() -> Result<Self, Error> {
        if !nix::unistd::geteuid().is_root() {
            let denied = io::Error::from_raw_os_error(nix::libc::EPERM);
            return Err(Error::step(
                "setting up namespaces",
                "`guard run` needs root: write `sudo guard run -- …`",
                denied,
            ));
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(FOLDER)
            .map_err(|error| Error::file("making", FOLDER, "", error))?;
        let _all = lock_all()?;
        let host = host()?;
        for id in ids() {
            sweep(&id, host);
        }
        let id = format!("{:08x}", rand::rng().random::<u32>());
        let folder = folder(&id);
        fs::create_dir(&folder).map_err(|error| Error::file("making", &folder, "", error))?;
        let lock = open_lock(&id)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::file("locking", folder.join(LOCK), "", error))?;
        let record = Record { cgroup: cgroup::path(&id)?, host };
        let file = folder.join(RECORD);
        fs::write(&file, serde_json::to_vec(&record).expect("a record of numbers and paths"))
            .map_err(|error| Error::file("writing", &file, "", error))?;
        Ok(Self { id, lock, record })
    }

    /// The run that another process has begun and whose lock this one was handed.
    pub(crate) fn of(id: &str, lock: File) -> Result<Self, Error> {
        Ok(Self { id: id.to_owned(), lock, record: read(id)? })
    }

    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    pub(crate) fn cgroup(&self) -> &Path {
        &self.record.cgroup
    }

    /// Where its programs and maps are pinned: on a bpffs that only the guard and its janitor see.
    pub fn pins(&self) -> PathBuf {
        self.bpffs().join("guard")
    }

    /// Where that file system is mounted.
    pub(crate) fn bpffs(&self) -> PathBuf {
        folder(&self.id).join("bpf")
    }

    /// The name of the table behind the veth.
    pub fn guard_table(&self) -> String {
        guard_table(&self.id)
    }

    /// The NFLOG group of its reports.
    pub fn log_group(&self) -> u16 {
        let number = u32::from_str_radix(&self.id, 16).unwrap_or_default();
        // Away from the node guard's, and from small numbers, where other tools sit.
        0x8000 | u16::try_from(number & 0x7fff).expect("15 bits")
    }

    /// Switches the host's forwarding on, unless another run has; whether it was off before all of them.
    pub(crate) fn forward(&self, ipv6: bool) -> Result<bool, Error> {
        let _all = lock_all()?;
        let file = settings(self.record.host);
        if let Ok(text) = fs::read(&file) {
            return Ok(serde_json::from_slice::<Before>(&text).is_ok_and(|before| before.was_off()));
        }
        let before = Before::switch_on(ipv6)?;
        if !before.was_off() {
            return Ok(false);
        }
        fs::write(&file, serde_json::to_vec(&before).expect("settings are text")).map_err(|error| {
            before.restore();
            Error::file("writing", &file, "", error)
        })?;
        Ok(true)
    }

    /// Takes back all that the run has made. What is gone already is no error; what can't be taken back is said, and the rest done.
    pub fn end(self) -> Result<(), Error> {
        let _all = lock_all()?;
        tidy(&self.id, &self.record, host()?)
    }
}

/// Ends the run of this number if no process of it lives.
fn sweep(id: &str, here: (u64, u64)) {
    let Ok(lock) = open_lock(id) else { return };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    let outcome = match read(id) {
        Ok(record) => tidy(id, &record, here),
        // It ended before it had made anything else.
        Err(_) => fs::remove_dir_all(folder(id)).map_err(|error| Error::file("removing", folder(id), "", error)),
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, "an earlier run has left something");
    }
}

fn tidy(id: &str, record: &Record, here: (u64, u64)) -> Result<(), Error> {
    let cgroup = cgroup::end(&record.cgroup);
    // Those of another namespace are gone with it, or for a run there to sweep.
    if record.host != here {
        return cgroup;
    }
    let network = Netns::current().and_then(|host| {
        // The interface first: without the tables it would be open.
        let interface = veth::remove(&host, &interface(id));
        delete_tables(&host, &[&guard_table(id), &way_out_table(id)]).and(interface)
    });
    let others = ids().into_iter().filter(|other| other != id && read(other).is_ok_and(|other| other.host == here));
    if others.count() == 0 {
        let file = settings(here);
        if let Some(before) = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Before>(&text).ok()) {
            before.restore();
        }
        let _ = fs::remove_file(&file);
    }
    let folder = folder(id);
    // It is mounted in some namespaces only.
    let _ = unmount(folder.join("bpf"), UnmountFlags::DETACH);
    fs::remove_dir_all(&folder).map_err(|error| Error::file("removing", &folder, "", error))?;
    network?;
    cgroup
}

pub(crate) fn way_out_table(id: &str) -> String {
    format!("egress_guard_way_out_{id}")
}

fn guard_table(id: &str) -> String {
    format!("egress_guard_run_{id}")
}

fn ids() -> Vec<String> {
    let folders = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    folders
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn folder(id: &str) -> PathBuf {
    Path::new(FOLDER).join(id)
}

fn settings((device, inode): (u64, u64)) -> PathBuf {
    Path::new(FOLDER).join(format!("forwarding-{device}-{inode}.json"))
}

fn read(id: &str) -> Result<Record, Error> {
    let file = folder(id).join(RECORD);
    let text = fs::read(&file).map_err(|error| Error::file("reading", &file, "", error))?;
    serde_json::from_slice(&text).map_err(|error| Error::file("reading", &file, "", io::Error::from(error)))
}

fn host() -> Result<(u64, u64), Error> {
    let identity = Netns::current()?.identity()?;
    Ok((identity.dev, identity.ino))
}

fn open_lock(id: &str) -> Result<File, Error> {
    open(&folder(id).join(LOCK))
}

/// Held while the list of runs changes.
fn lock_all() -> Result<File, Error> {
    let file = Path::new(FOLDER).join(LOCK);
    let lock = open(&file)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| Error::file("locking", &file, "", error))?;
    Ok(lock)
}

fn open(file: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(file).map_err(|error| Error::file("opening", file, "", error))
}
