//! Who is in charge of this node: the one process that may change what the guard has in the node's kernel.
//!
//! In an upgrade two node guards run for a while. The newer takes charge; the older serves what it has accepted and changes nothing any
//! more. `guard release` takes charge from both until somebody takes that back. All of it is one small file in a folder of the node.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// The file.
const FILE: &str = "charge.json";
/// How often a guard looks whether the node was released.
const LOOK: Duration = Duration::from_secs(1);
/// More than anybody needs for a reason.
const MAX_BYTES: u64 = 16 * 1024;

/// Why charge of the node could not be looked up or changed.
#[derive(Debug, Error)]
pub(crate) enum ChargeError {
    /// The file could not be read or written.
    #[error("{doing} {} failed: {source}; it must be a folder of the node, writable for root", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file, or its folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody else wrote it.
    #[error("{} is not the guard's: {source}; remove it, and the next guard that starts takes charge", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A newer guard has taken over.
    #[error("another guard has taken charge of this node")]
    TakenOver,
    /// An administrator has switched the guard off here.
    #[error("this node was released at {} ({}); `guard release --undo` takes that back", .0.since, .0.reason)]
    Released(Release),
}

/// Enforcement on this node was ended on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release {
    /// Why, for people.
    pub(crate) reason: String,
    /// When.
    pub(crate) since: Timestamp,
}

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum State {
    /// Nobody has been in charge yet, or a release was taken back.
    #[default]
    Nobody,
    /// A guard: a number of its own.
    Guard(String),
    /// No guard.
    Released(Release),
}

/// One process's claim to a node.
#[derive(Debug, Clone)]
pub(crate) struct Charge {
    /// Without a folder there is nobody else to ask, and this process is in charge.
    file: Option<PathBuf>,
    me: String,
}

/// As long as it lives, nobody else takes charge.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: Option<Flock<File>>,
}

impl Charge {
    /// Of the node whose folder this is. Takes nothing yet.
    pub(crate) fn of_node(folder: Option<&Path>) -> Result<Self, ChargeError> {
        if let Some(folder) = folder {
            DirBuilder::new().recursive(true).create(folder).map_err(failed("making", folder))?;
            // The kubelet makes it readable for all.
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed("closing", folder))?;
        }
        Ok(Self { file: folder.map(|folder| folder.join(FILE)), me: Uuid::new_v4().to_string() })
    }

    /// From here on no other guard changes anything on this node, and until what is returned is dropped, none can take that back.
    pub(crate) fn take(&self) -> Result<Held, ChargeError> {
        let Some(mut lock) = self.lock()? else { return Ok(Held { _lock: None }) };
        if let State::Released(release) = self.read(&mut lock)? {
            return Err(ChargeError::Released(release));
        }
        self.write(&mut lock, &State::Guard(self.me.clone()))?;
        Ok(Held { _lock: Some(lock) })
    }

    /// For one change: an error if this process is not in charge any more.
    pub(crate) fn hold(&self) -> Result<Held, ChargeError> {
        let Some(mut lock) = self.lock()? else { return Ok(Held { _lock: None }) };
        match self.read(&mut lock)? {
            State::Guard(owner) if owner == self.me => Ok(Held { _lock: Some(lock) }),
            State::Released(release) => Err(ChargeError::Released(release)),
            State::Guard(_) | State::Nobody => Err(ChargeError::TakenOver),
        }
    }

    /// Whether nobody has taken over, as far as that can be known: without a folder it can't.
    pub(crate) fn is_still_mine(&self) -> bool {
        self.file.is_some() && self.hold().is_ok()
    }

    /// Takes charge from every guard, the next that starts included, until [`Self::undo`].
    pub(crate) fn release(&self, reason: &str) -> Result<Held, ChargeError> {
        let Some(mut lock) = self.lock()? else { return Ok(Held { _lock: None }) };
        let release = Release { reason: reason.to_owned(), since: Timestamp::now() };
        self.write(&mut lock, &State::Released(release))?;
        Ok(Held { _lock: Some(lock) })
    }

    /// Takes a release back; `None` if there was none.
    pub(crate) fn undo(&self) -> Result<Option<Release>, ChargeError> {
        let Some(mut lock) = self.lock()? else { return Ok(None) };
        let State::Released(release) = self.read(&mut lock)? else { return Ok(None) };
        self.write(&mut lock, &State::Nobody)?;
        Ok(Some(release))
    }

    /// The release that is in force.
    pub(crate) fn released(&self) -> Result<Option<Release>, ChargeError> {
        let Some(mut lock) = self.lock()? else { return Ok(None) };
        match self.read(&mut lock)? {
            State::Released(release) => Ok(Some(release)),
            State::Guard(_) | State::Nobody => Ok(None),
        }
    }

    /// Waits until the node is released.
    pub(crate) async fn until_released(&self) -> Release {
        loop {
            match self.released() {
                Ok(Some(release)) => return release,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "it is not known whether this node was released"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a release is taken back.
    pub(crate) async fn until_undone(&self) {
        while !matches!(self.released(), Ok(None)) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Opened anew each time: a lock belongs to what was opened, and the threads of one process exclude each other too.
    fn lock(&self) -> Result<Option<Flock<File>>, ChargeError> {
        let Some(path) = &self.file else { return Ok(None) };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed("opening", path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| failed("locking", path)(io::Error::from(error)))?;
        Ok(Some(lock))
    }

    fn read(&self, file: &mut File) -> Result<State, ChargeError> {
        let path = self.file.as_deref().unwrap_or(Path::new(FILE));
        let mut text = String::new();
        file.rewind().and_then(|()| file.take(MAX_BYTES).read_to_string(&mut text)).map_err(failed("reading", path))?;
        if text.trim().is_empty() {
            return Ok(State::Nobody);
        }
        serde_json::from_str(&text).map_err(|source| ChargeError::Foreign { path: path.to_owned(), source })
    }

    fn write(&self, file: &mut File, state: &State) -> Result<(), ChargeError> {
        let path = self.file.as_deref().unwrap_or(Path::new(FILE));
        let text = serde_json::to_vec(state).expect("a number, or a text and a time, can be written as JSON");
        file.rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(&text))
            .and_then(|()| file.sync_all())
            .map_err(failed("writing", path))
    }
}

/// Removes the folder with all that the guard keeps on the node; `false` if there was none.
pub(crate) fn remove(folder: &Path) -> Result<bool, ChargeError> {
    // The folder itself may be a mount of the node's, which only the node can remove.
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("listing", folder)(error)),
        Ok(entries) => {
            for entry in entries.flatten() {
                let path = entry.path();
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(failed("removing", &path))?;
            }
            let _ = fs::remove_dir(folder);
            Ok(true)
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ChargeError {
    let path = path.to_owned();
    move |source| ChargeError::File { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(folder: &Path) -> (Charge, Charge) {
        (Charge::of_node(Some(folder)).unwrap(), Charge::of_node(Some(folder)).unwrap())
    }

    #[test]
    fn the_newer_guard_takes_charge_and_the_older_changes_nothing_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = two(folder.path());
        assert!(matches!(old.hold(), Err(ChargeError::TakenOver)), "nothing is taken unasked");
        drop(old.take().unwrap());
        assert!(old.hold().is_ok());
        drop(new.take().unwrap());
        assert!(matches!(old.hold(), Err(ChargeError::TakenOver)));
        assert!(new.hold().is_ok());
        assert!(new.is_still_mine() && !old.is_still_mine());
    }

    #[test]
    fn a_change_that_is_under_way_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = two(folder.path());
        drop(old.take().unwrap());
        let held = old.hold().unwrap();
        let taking = std::thread::spawn(move || drop(new.take().unwrap()));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!taking.is_finished());
        drop(held);
        taking.join().unwrap();
        assert!(old.hold().is_err());
    }

    #[test]
    fn a_released_node_is_nobodys_until_that_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let (guard, administrator) = two(folder.path());
        drop(guard.take().unwrap());
        drop(administrator.release("storm in the network").unwrap());
        let error = guard.hold().unwrap_err().to_string();
        assert!(error.contains("storm in the network") && error.contains("--undo"), "{error}");
        assert!(guard.take().is_err(), "a guard that starts is told as well");
        assert_eq!(administrator.undo().unwrap().unwrap().reason, "storm in the network");
        assert_eq!(administrator.undo().unwrap(), None);
        drop(guard.take().unwrap());
        assert!(guard.hold().is_ok());
    }

    #[test]
    fn without_a_folder_there_is_nobody_else() {
        let charge = Charge::of_node(None).unwrap();
        assert!(charge.take().is_ok() && charge.hold().is_ok());
        assert!(!charge.is_still_mine(), "nor can it be known that nobody has taken over");
        assert_eq!(charge.released().unwrap(), None);
    }

    #[test]
    fn what_the_guard_did_not_write_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "nonsense").unwrap();
        let error = Charge::of_node(Some(folder.path())).unwrap().take().unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("remove it"), "{error}");
    }

    #[test]
    fn the_folder_is_roots_alone_and_goes_with_all_that_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("egress-guard");
        drop(Charge::of_node(Some(&folder)).unwrap().take().unwrap());
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(folder.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(remove(&folder).unwrap());
        assert!(!folder.exists());
        assert!(!remove(&folder).unwrap());
    }
}
