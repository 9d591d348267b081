//! tcx as another tool on the node would use it: a program of two instructions, its link, and the end of a link.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// include/uapi/linux/bpf.h
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_F_BEFORE: u32 = 1 << 3;

/// The parts of `union bpf_attr`.
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

#[repr(C)]
struct Link {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct Get {
    path: u64,
    reserved: u64,
}

/// Attaches a program that returns this number, before all others. It stays while the link is open.
pub(crate) fn attach_first(interface: u32, returned: i32) -> OwnedFd {
    let [a, b, c, d] = returned.to_le_bytes();
    // r0 = returned; exit
    let instructions: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, a, b, c, d], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let load = Load {
        kind: BPF_PROG_TYPE_SCHED_CLS,
        instruction_count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    let program = descriptor(bpf(BPF_PROG_LOAD, &load));
    let attach = Link {
        program: program.as_raw_fd().unsigned_abs(),
        interface,
        attach_type: BPF_TCX_INGRESS,
        flags: BPF_F_BEFORE,
    };
    descriptor(bpf(BPF_LINK_CREATE, &attach))
}

/// Ends a pinned link; its pin stays.
pub(crate) fn detach(pin: &Path) {
    let path = CString::new(pin.as_os_str().as_bytes()).unwrap();
    let link = descriptor(bpf(BPF_OBJ_GET, &Get { path: path.as_ptr() as u64, reserved: 0 }));
    bpf(BPF_LINK_DETACH, &link.as_raw_fd());
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> libc::c_long {
    loop {
        // SAFETY: the callers' attributes are the parts of the union that their commands read, and point to what is alive.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
        let error = std::io::Error::last_os_error();
        if result >= 0 {
            return result;
        }
        // The verifier's answer when a signal is pending, as in a process that is stopped or frozen.
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "bpf({command}): {error}");
    }
}

fn descriptor(result: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just opened it for the caller.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(result).unwrap()) }
}
