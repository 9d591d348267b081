//! What the guard and the init tell each other: a line of JSON each, over a pair of sockets.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::User;

/// The first thing that the init is told. Before it, it does nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// As whom the command runs.
    pub user: User,
    /// Where it runs.
    pub directory: PathBuf,
    /// What it may write for good.
    pub writable: Vec<PathBuf>,
    /// What it doesn't see.
    pub hidden: Vec<PathBuf>,
    /// The kubeconfig that names the guard, and where it lies.
    pub kubeconfig: String,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: Option<String>,
}

/// What the init is told afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Pass this signal on to the command.
    Signal(i32),
}

/// What the init tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The command runs.
    Started,
    /// It does not, and why: the exit code for that, and a sentence.
    Failed(u8, String),
    /// It was stopped, as by Ctrl-Z.
    Stopped,
    /// It has ended: the exit code, or 128 and the signal's number.
    Ended(u8),
}

/// One end of the pair.
pub(crate) struct Channel {
    socket: UnixStream,
    unread: Vec<u8>,
}

impl Channel {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self { socket, unread: Vec::new() }
    }

    pub(crate) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.socket.write_all(&line)
    }

    /// Waits for the next message; `None` when the other end is gone.
    pub(crate) fn receive<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.unread.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            let mut piece = [0; 4096];
            match self.socket.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(length) => self.unread.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a whole message is here already.
    pub(crate) fn has_message(&self) -> bool {
        self.unread.contains(&b'\n')
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
