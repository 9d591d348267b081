//! Socket options that no crate in use has a safe function for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `setsockopt` of a plain value.
#[allow(unsafe_code)]
pub(super) fn set<T: Plain>(socket: impl AsFd, level: i32, name: i32, value: T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    // SAFETY: the kernel reads `length` bytes of `value`, which lives through the call and, by `Plain`, has no padding.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Words without padding between them.
pub(super) trait Plain: Copy {}

impl Plain for i32 {}
impl<const N: usize> Plain for [u32; N] {}
impl<const N: usize> Plain for [u64; N] {}
