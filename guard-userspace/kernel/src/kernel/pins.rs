//! Names on the bpffs: `<directory>/v<layout>/maps/<MAP>` and `<directory>/v<layout>/pods/<pod uid>_<workload>/<link>`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use guard_common::LAYOUT_VERSION;

use super::{WorkloadId, bpffs};
use crate::Error;

/// What a link's pin is called until it takes the place of the one before it.
const NEXT: &str = "_next";

/// A pod whose links are pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The pod's uid.
    pub pod: String,
    /// The workload: its cgroup's id.
    pub workload: WorkloadId,
}

pub(super) struct Pins {
    directory: PathBuf,
    version: PathBuf,
}

impl Pins {
    /// Makes the directories. Pins of another layout are an error: this process could neither use nor replace them.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        bpffs::ensure(directory)?;
        let ours = format!("v{LAYOUT_VERSION}");
        for name in names(directory)? {
            if name != ours {
                return Err(Error::UnknownLayout { directory: directory.to_owned(), found: name, known: ours });
            }
        }
        let pins = Self { directory: directory.to_owned(), version: directory.join(ours) };
        for part in [pins.maps(), pins.version.join("pods")] {
            fs::create_dir_all(&part)
                .map_err(|error| Error::syscall("mkdir", format!("making {}", part.display()), "", error))?;
        }
        Ok(pins)
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    pub(super) fn pods(&self) -> Result<Vec<Pinned>, Error> {
        let names = names(&self.version.join("pods"))?;
        Ok(names
            .iter()
            .filter_map(|name| {
                let (pod, workload) = name.rsplit_once('_')?;
                Some(Pinned { pod: pod.to_owned(), workload: workload.parse().ok()? })
            })
            .collect())
    }

    pub(super) fn pod(&self, pinned: &Pinned) -> PathBuf {
        self.version.join("pods").join(format!("{}_{}", pinned.pod, pinned.workload))
    }

    /// A link that an earlier process did not come to put in the place of the one before it is put there.
    pub(super) fn links(&self, pinned: &Pinned) -> Result<Vec<PathBuf>, Error> {
        let directory = self.pod(pinned);
        for name in names(&directory)? {
            if let Some(usual) = name.strip_suffix(NEXT) {
                replace(&directory.join(&name), &directory.join(usual))?;
            }
        }
        Ok(names(&directory)?.into_iter().map(|name| directory.join(name)).collect())
    }

    pub(super) fn add_pod(&self, pinned: &Pinned) -> Result<(), Error> {
        let directory = self.pod(pinned);
        fs::create_dir_all(&directory)
            .map_err(|error| Error::syscall("mkdir", format!("making {}", directory.display()), "", error))
    }

    pub(super) fn remove_pod(&self, pinned: &Pinned) -> Result<(), Error> {
        remove(&self.pod(pinned))
    }

    pub(super) fn remove_all(&self) -> Result<(), Error> {
        remove(&self.directory)
    }
}

/// Removes one pin.
pub(super) fn remove_link(pin: &Path) -> Result<(), Error> {
    fs::remove_file(pin)
        .map_err(|error| Error::syscall("unlink", format!("removing the pin {}", pin.display()), "", error))
}

/// Where a link is pinned until it takes the place of the one at `pin`.
pub(super) fn next(pin: &Path) -> PathBuf {
    let mut path = pin.as_os_str().to_owned();
    path.push(NEXT);
    PathBuf::from(path)
}

/// Puts a link in the place of the one before it, which ends.
pub(super) fn replace(next: &Path, pin: &Path) -> Result<(), Error> {
    fs::rename(next, pin).map_err(|error| {
        Error::syscall("rename", format!("putting a link in the place of {}", pin.display()), "", error)
    })
}

fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let failed = |error| Error::syscall("readdir", format!("listing {}", directory.display()), "", error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::syscall("unlink", format!("removing the pins in {}", path.display()), "", error))
        }
        _ => Ok(()),
    }
}
