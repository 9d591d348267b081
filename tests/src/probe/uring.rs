//! `io_uring`: system calls that no seccomp filter on `connect` and `bind` sees.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode, squeue, types};
use socket2::{SockAddr, Socket};

use super::patience::patient;

/// `IORING_OP_CONNECT`.
pub(super) fn connect(socket: &Socket, to: SocketAddr, limit: Duration) -> io::Result<()> {
    let address = SockAddr::from(to);
    let entry = opcode::Connect::new(types::Fd(socket.as_raw_fd()), address.as_ptr().cast(), address.len()).build();
    run(&entry, opcode::Connect::CODE, limit)
}

/// `IORING_OP_BIND` (kernel 6.11).
pub(super) fn bind(socket: &Socket, to: SocketAddr, limit: Duration) -> io::Result<()> {
    let address = SockAddr::from(to);
    let entry = opcode::Bind::new(types::Fd(socket.as_raw_fd()), address.as_ptr().cast(), address.len()).build();
    run(&entry, opcode::Bind::CODE, limit)
}

/// `IORING_OP_LISTEN` (kernel 6.11).
pub(super) fn listen(socket: &Socket, backlog: i32, limit: Duration) -> io::Result<()> {
    let entry = opcode::Listen::new(types::Fd(socket.as_raw_fd()), backlog).build();
    run(&entry, opcode::Listen::CODE, limit)
}

/// The caller keeps what the entry points to until this returns, and the socket.
#[allow(unsafe_code)]
fn run(entry: &squeue::Entry, code: u8, limit: Duration) -> io::Result<()> {
    let mut ring = IoUring::new(2)?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known)?;
    if !known.is_supported(code) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: the entry's address lives in the caller's frame, and the kernel copies it at submission
    // (io_connect_prep, io_bind_prep); the descriptor is the caller's own, borrowed for the call.
    unsafe { ring.submission().push(entry).map_err(io::Error::other)? };
    let time = types::Timespec::from(limit);
    let arguments = types::SubmitArgs::new().timespec(&time);
    patient(|| ring.submitter().submit_with_args(1, &arguments))?;
    let completion = ring.completion().next().ok_or(io::ErrorKind::TimedOut)?;
    match completion.result() {
        0.. => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
