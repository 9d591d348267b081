//! The foreground job of a terminal.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::libc;

/// The process group in the foreground of the terminal; `None` where the descriptor is no terminal, or not this session's.
#[allow(unsafe_code)]
pub fn foreground(terminal: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: the descriptor is borrowed for the call, which takes numbers alone.
    let group = unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) };
    (group >= 0).then_some(group)
}

/// Brings a process group of this session into the foreground. From the background, SIGTTOU must be blocked.
#[allow(unsafe_code)]
pub fn set_foreground(terminal: BorrowedFd<'_>, group: i32) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call, which takes numbers alone.
    let result = unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), group) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
