//! What can go wrong between the guard and the kernel, and what to look at next.

use std::io;

/// A failed attempt to make the kernel do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{doing}: {call}: {source}{}{hint}", if hint.is_empty() { "" } else { "; " })]
    Syscall {
        /// The system call, or the netlink request.
        call: &'static str,
        /// What was tried, on what.
        doing: String,
        /// What to check next; empty where the kernel's own error says it all.
        hint: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// A failed system call, with what was being done and what to check next.
    pub fn syscall(call: &'static str, doing: impl Into<String>, hint: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Syscall { call, doing: doing.into(), hint, source: source.into() }
    }
}
