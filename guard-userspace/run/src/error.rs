//! What can go wrong before a command runs, and what to look at next.

use std::io;
use std::path::{Path, PathBuf};

/// A step that failed. Nothing was started; what was made is taken back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a folder.
    #[error("{doing} {}: {source}{}{hint}", path.display(), if hint.is_empty() { "" } else { "; " })]
    File {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What to check.
        hint: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A system call without a file.
    #[error("{doing}: {source}{}{hint}", if hint.is_empty() { "" } else { "; " })]
    Step {
        /// What was tried.
        doing: &'static str,
        /// What to check.
        hint: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Of the kernel's side.
    #[error(transparent)]
    Kernel(#[from] guard_kernel::Error),
    /// There is no cgroup2.
    #[error(transparent)]
    Cgroup(#[from] guard_workload::Cgroup2Error),
    /// The command would be root.
    #[error(
        "the command would run as root, who can undo what confines it: start it by sudo as yourself, or name another user with --user NAME"
    )]
    Root,
    /// Nobody has this name.
    #[error("there is no user {0:?} here; give a name of /etc/passwd, or numbers: --user UID:GID")]
    NoUser(String),
    /// Every address that was tried is somebody's.
    #[error(
        "found no free address for the command's network in 100.64.0.0/10; does this machine route all of it elsewhere?"
    )]
    NoAddress,
    /// The other process said something unexpected, or nothing.
    #[error("the first process of the command's namespaces ended early: {0}")]
    Init(String),
}

impl Error {
    pub(crate) fn file(
        doing: &'static str,
        path: impl AsRef<Path>,
        hint: &'static str,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File { doing, path: path.as_ref().to_owned(), hint, source: source.into() }
    }

    pub(crate) fn step(doing: &'static str, hint: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Step { doing, hint, source: source.into() }
    }
}
