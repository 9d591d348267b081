//! `BPF_LINK_UPDATE` on a pinned link: the one atomic way to replace a program. aya 0.14 has it for tcx alone.

#![allow(unsafe_code)]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use crate::Error;

// enum bpf_cmd (include/uapi/linux/bpf.h)
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_UPDATE: libc::c_int = 29;

/// The `BPF_OBJ_*` part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct ObjectAttributes {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The `BPF_LINK_UPDATE` part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttributes {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// What became of a pinned link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Updated {
    /// It runs the new program.
    Replaced,
    /// The cgroup or the interface that it was attached to is gone; it does nothing any more.
    Severed,
}

/// Makes the pinned link run `program` from now on; no packet meets neither.
pub(super) fn update(pin: &Path, program: BorrowedFd<'_>) -> Result<Updated, Error> {
    let link = open(pin)?;
    let attributes =
        LinkUpdateAttributes { link_fd: number(link.as_fd()), new_prog_fd: number(program), ..Default::default() };
    // SAFETY: both descriptors are open for the call.
    match unsafe { bpf(BPF_LINK_UPDATE, &attributes) } {
        Ok(_) => Ok(Updated::Replaced),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(Updated::Severed),
        Err(error) => {
            let doing = format!("replacing the program of {}", pin.display());
            Err(Error::syscall("BPF_LINK_UPDATE", doing, "is the pin of a link of the same kind?", error))
        }
    }
}

fn open(pin: &Path) -> Result<OwnedFd, Error> {
    let failed =
        |error| Error::syscall("BPF_OBJ_GET", format!("opening the pinned link {}", pin.display()), "CAP_BPF?", error);
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(|error| failed(io::Error::other(error)))?;
    let attributes = ObjectAttributes { pathname: path.as_ptr() as u64, ..Default::default() };
    // SAFETY: `path` is a C string that lives until after the call.
    let descriptor = unsafe { bpf(BPF_OBJ_GET, &attributes) }.map_err(failed)?;
    // SAFETY: the kernel has just opened it for us (close-on-exec, as all of bpf(2)'s), and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// # Safety
/// `attributes` is the part of `union bpf_attr` that `command` reads, and what it points to is valid for the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: by the caller. The kernel reads `size_of::<T>()` bytes and takes the rest of the union for zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { RawFd::try_from(result).map_err(io::Error::other) }
}

/// An open descriptor's number is never negative.
fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().unsigned_abs()
}
