//! A process that is stopped, traced or frozen gets EINTR from a socket with a time-out, without any handler of its
//! own (signal(7)). That says nothing about the way that is tried.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;

/// Calls again what was interrupted.
pub(super) fn patient<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// `connect`. One that was interrupted goes on by itself, and must not be called again (connect(2)).
pub(super) fn connect(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    match socket.connect(&to.into()) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => outcome(socket),
        result => result,
    }
}

fn outcome(socket: &Socket) -> io::Result<()> {
    let limit = socket.write_timeout()?.map_or(Ok(PollTimeout::NONE), PollTimeout::try_from);
    let limit = limit.map_err(io::Error::other)?;
    let ready = patient(|| Ok(poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], limit)?))?;
    if ready == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.take_error()?.map_or(Ok(()), Err)
}
