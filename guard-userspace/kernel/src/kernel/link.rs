//! What aya 0.14 lacks for pinned links: `BPF_LINK_UPDATE`, the one atomic way to replace a program (aya has it for tcx
//! alone), and which link an interface runs first.

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
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;
/// `enum bpf_attach_type`
const BPF_TCX_INGRESS: u32 = 46;

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

/// The `BPF_OBJ_GET_INFO_BY_FD` part of `union bpf_attr`.
#[repr(C)]
struct InfoAttributes {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The start of `struct bpf_link_info`, as long as it is of interest.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
}

/// The `BPF_PROG_QUERY` part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct QueryAttributes {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The `BPF_LINK_DETACH` part of `union bpf_attr`.
#[repr(C)]
struct DetachAttributes {
    link_fd: u32,
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
    let mut attributes =
        LinkUpdateAttributes { link_fd: number(link.as_fd()), new_prog_fd: number(program), ..Default::default() };
    // SAFETY: both descriptors are open for the call.
    match unsafe { bpf(BPF_LINK_UPDATE, &mut attributes) } {
        Ok(_) => Ok(Updated::Replaced),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(Updated::Severed),
        Err(error) => {
            let doing = format!("replacing the program of {}", pin.display());
            Err(Error::syscall("BPF_LINK_UPDATE", doing, "is the pin of a link of the same kind?", error))
        }
    }
}

/// Ends what a pinned link does, at once: one that only loses its pin goes on until a worker of the kernel comes to it.
pub(super) fn detach(pin: &Path) -> Result<(), Error> {
    let link = open(pin)?;
    let mut attributes = DetachAttributes { link_fd: number(link.as_fd()) };
    // SAFETY: the descriptor is open for the call.
    unsafe { bpf(BPF_LINK_DETACH, &mut attributes) }
        .map(drop)
        .map_err(|error| Error::syscall("BPF_LINK_DETACH", format!("ending the link {}", pin.display()), "", error))
}

/// Whether the pinned link is the first that the interface's tcx ingress runs. Kernel 6.6.
///
/// The interface is one of the calling thread's network namespace. One that has gone runs nothing.
pub(super) fn is_first(pin: &Path, interface: u32) -> Result<bool, Error> {
    if !pin.exists() {
        return Ok(false);
    }
    let link = open(pin)?;
    let mut info = LinkInfo::default();
    let mut attributes = InfoAttributes {
        bpf_fd: number(link.as_fd()),
        info_len: u32::try_from(size_of::<LinkInfo>()).expect("eight bytes"),
        info: &raw mut info as u64,
    };
    // SAFETY: the descriptor is open for the call, in which the kernel writes at most `info_len` bytes to `info`.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes) }.map_err(|error| {
        Error::syscall("BPF_OBJ_GET_INFO_BY_FD", format!("looking at the link {}", pin.display()), "", error)
    })?;
    Ok(first(interface)? == Some(info.id))
}

/// The link that the interface's tcx ingress runs first. What is attached there without a link has the number 0.
fn first(interface: u32) -> Result<Option<u32>, Error> {
    let (mut program, mut link) = (0_u32, 0_u32);
    let mut attributes = QueryAttributes {
        target_ifindex: interface,
        attach_type: BPF_TCX_INGRESS,
        prog_ids: &raw mut program as u64,
        link_ids: &raw mut link as u64,
        count: 1,
        ..Default::default()
    };
    // SAFETY: both arrays are alive for the call, in which the kernel writes at most `count` numbers to each.
    let outcome = unsafe { bpf(BPF_PROG_QUERY, &mut attributes) };
    match outcome.map_err(|error| (error.raw_os_error(), error)) {
        Ok(_) if attributes.count == 0 => Ok(None),
        // ENOSPC: there are more behind it (bpf_mprog_query).
        Ok(_) | Err((Some(libc::ENOSPC), _)) => Ok(Some(link)),
        Err((Some(libc::ENODEV), _)) => Ok(None),
        Err((_, error)) => {
            let doing = format!("asking what the tcx ingress of the interface {interface} runs");
            Err(Error::syscall("BPF_PROG_QUERY", doing, "CAP_NET_ADMIN?", error))
        }
    }
}

fn open(pin: &Path) -> Result<OwnedFd, Error> {
    let failed =
        |error| Error::syscall("BPF_OBJ_GET", format!("opening the pinned link {}", pin.display()), "CAP_BPF?", error);
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(|error| failed(io::Error::other(error)))?;
    let mut attributes = ObjectAttributes { pathname: path.as_ptr() as u64, ..Default::default() };
    // SAFETY: `path` is a C string that lives until after the call.
    let descriptor = unsafe { bpf(BPF_OBJ_GET, &mut attributes) }.map_err(failed)?;
    // SAFETY: the kernel has just opened it for us (close-on-exec, as all of bpf(2)'s), and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// # Safety
/// `attributes` is the part of `union bpf_attr` that `command` reads and writes, and what it points to is valid for the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: by the caller. The kernel reads `size_of::<T>()` bytes and takes the rest of the union for zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { RawFd::try_from(result).map_err(io::Error::other) }
}

/// An open descriptor's number is never negative.
fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().unsigned_abs()
}
