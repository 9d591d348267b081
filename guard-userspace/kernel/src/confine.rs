//! What a process of `guard run` gives up for good, and what it was handed: where no crate in use has a safe call for it.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::libc;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use crate::Error;

/// `linux/mount.h`.
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const AT_RECURSIVE: libc::c_uint = 0x8000;

/// `struct mount_attr` of `linux/mount.h`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Makes all mounts at and below `path` read-only, and takes set-uid from them. Mounts that are made later are not concerned.
#[allow(unsafe_code)]
pub fn make_read_only(path: &Path) -> Result<(), Error> {
    let failed = |error| {
        let hint = "mount_setattr needs Linux 5.12 and CAP_SYS_ADMIN";
        Error::syscall("mount_setattr", format!("making {} read-only", path.display()), hint, error)
    };
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| failed(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, clear: 0, propagation: 0, userns: 0 };
    // SAFETY: the path is a NUL-terminated string and `attr` a structure of the size that is passed; both live for the call, which only
    // reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            name.as_ptr(),
            AT_RECURSIVE,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(failed(io::Error::last_os_error())) }
}

/// Takes over a descriptor that this process was started with, and keeps it from its own children.
///
/// Call it once for each number, before anything else could have opened it.
#[allow(unsafe_code)]
pub fn inherited(number: RawFd) -> Result<OwnedFd, Error> {
    let failed = |error| Error::syscall("fcntl", format!("taking over descriptor {number}"), "", error);
    if number <= libc::STDERR_FILENO {
        return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    // SAFETY: it is no standard stream, and by the contract of this function nobody else in this process owns it. Whether it is open is
    // found by the very next call; if it isn't, closing it does nothing.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    match fcntl_getfd(&owned).and_then(|flags| fcntl_setfd(&owned, flags | FdFlags::CLOEXEC)) {
        Ok(()) => Ok(owned),
        Err(error) => {
            std::mem::forget(owned);
            Err(failed(error.into()))
        }
    }
}

/// Refuses, to this process and all that it starts, what reaches out of namespaces by its kind: writing into a terminal's input
/// (`TIOCSTI`, `TIOCLINUX`), and the kernel's keyrings, which may hold the user's tickets.
///
/// `no_new_privs` must be set before.
#[allow(unsafe_code)]
pub fn refuse_escapes() -> Result<(), Error> {
    let program = filter();
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("the filter is short"),
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program and its instructions live for the call, which copies them and writes nothing.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if result == 0 {
        return Ok(());
    }
    let hint = "the kernel needs CONFIG_SECCOMP_FILTER";
    Err(Error::syscall("prctl", "installing a seccomp filter", hint, io::Error::last_os_error()))
}

/// Numbers of system calls of one architecture.
struct Calls {
    architecture: u32,
    ioctl: u32,
    keyrings: [u32; 3],
}

/// `linux/audit.h` for the architectures, `unistd.h` of each for the numbers: `ioctl`; `add_key`, `request_key`, `keyctl`.
const CALLS: [Calls; 4] = [
    Calls { architecture: 0xc000_003e, ioctl: 16, keyrings: [248, 249, 250] },
    Calls { architecture: 0x4000_0003, ioctl: 54, keyrings: [286, 287, 288] },
    Calls { architecture: 0xc000_00b7, ioctl: 29, keyrings: [217, 218, 219] },
    Calls { architecture: 0x4000_0028, ioctl: 54, keyrings: [309, 310, 311] },
];
/// The x32 numbers of x86-64 have this bit, and `ioctl` one of its own.
const X32: u32 = 0x4000_0000;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
/// Where `struct seccomp_data` has them. Arguments are 64-bit, little end first on all of these.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const SECOND_ARGUMENT: u32 = 24;

/// An architecture that is not listed is refused as a whole: its numbers mean something else.
fn filter() -> Vec<libc::sock_filter> {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    let code = |code: u32| u16::try_from(code).expect("instruction codes have 16 bits");
    let load = |k| libc::sock_filter { code: code(BPF_LD | BPF_W | BPF_ABS), jt: 0, jf: 0, k };
    let equal = |k, jt, jf| libc::sock_filter { code: code(BPF_JMP | BPF_JEQ | BPF_K), jt, jf, k };
    let give = |k| libc::sock_filter { code: code(BPF_RET | BPF_K), jt: 0, jf: 0, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let mut program = vec![load(ARCHITECTURE)];
    for calls in CALLS {
        let [add, request, keyctl] = calls.keyrings;
        program.extend([
            equal(calls.architecture, 0, 11),
            load(NUMBER),
            libc::sock_filter { code: code(BPF_JMP | BPF_JGE | BPF_K), jt: 8, jf: 0, k: X32 },
            equal(add, 7, 0),
            equal(request, 6, 0),
            equal(keyctl, 5, 0),
            equal(calls.ioctl, 0, 3),
            load(SECOND_ARGUMENT),
            equal(TIOCSTI, 2, 0),
            equal(TIOCLINUX, 1, 0),
            give(libc::SECCOMP_RET_ALLOW),
            give(refuse),
        ]);
    }
    program.push(give(refuse));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn verdict(architecture: u32, number: u32, argument: u32) -> u32 {
        let program = filter();
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            match u32::from(step.code) & 0x07 {
                libc::BPF_LD => {
                    accumulator = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        _ => argument,
                    }
                }
                libc::BPF_JMP => {
                    let holds = if u32::from(step.code) & 0xf0 == libc::BPF_JEQ {
                        accumulator == step.k
                    } else {
                        accumulator >= step.k
                    };
                    at += usize::from(if holds { step.jt } else { step.jf });
                }
                _ => return step.k,
            }
        }
    }

    #[test]
    fn only_what_reaches_out_is_refused() {
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
        for calls in CALLS {
            assert_eq!(verdict(calls.architecture, 1, 0), libc::SECCOMP_RET_ALLOW);
            assert_eq!(verdict(calls.architecture, calls.ioctl, 0x5401), libc::SECCOMP_RET_ALLOW);
            for request in [TIOCSTI, TIOCLINUX] {
                assert_eq!(verdict(calls.architecture, calls.ioctl, request), refused);
            }
            for number in calls.keyrings {
                assert_eq!(verdict(calls.architecture, number, 0), refused);
            }
        }
        assert_eq!(verdict(CALLS[0].architecture, X32 + 514, TIOCSTI), refused);
        assert_eq!(verdict(1, 1, 0), refused);
    }
}
