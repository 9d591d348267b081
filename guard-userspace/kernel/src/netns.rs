//! Network namespaces: held by a descriptor, entered on threads made for it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// A network namespace. It lives on, empty at worst, for as long as this value does.
#[derive(Debug)]
pub struct Netns {
    handle: OwnedFd,
    origin: String,
}

/// What tells namespaces of this machine apart. The numbers are used again once a namespace is gone, so compare only
/// while a [`Netns`] is held; [`Netns::cookie`] is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// The device of the nsfs file system.
    pub dev: u64,
    /// The inode in it.
    pub ino: u64,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, Error> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The namespace of a process of this PID namespace.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// The namespace at a path: `/proc/PID/ns/net`, or a bind mount of one (`/run/netns/NAME`).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let doing = || format!("opening the network namespace {origin}");
        let hint = "the process may have ended; a guard in a container needs hostPID or the host's /run/netns";
        let handle = OwnedFd::from(File::open(path).map_err(|error| Error::syscall("open", doing(), hint, error))?);
        let magic = rustix::fs::fstatfs(&handle).map_err(|error| Error::syscall("fstatfs", doing(), "", error))?.f_type;
        if magic != NSFS_MAGIC {
            let what = "this is an ordinary file: the namespace's bind mount is gone";
            return Err(Error::syscall("fstatfs", doing(), what, io::Error::from(io::ErrorKind::InvalidInput)));
        }
        Ok(Self { handle, origin })
    }

    /// Device and inode of the namespace.
    pub fn identity(&self) -> Result<NetnsId, Error> {
        let stat = rustix::fs::fstat(&self.handle)
            .map_err(|error| Error::syscall("fstat", format!("identifying {}", self.origin), "", error))?;
        Ok(NetnsId { dev: stat.st_dev, ino: stat.st_ino })
    }

    /// The namespace's cookie: unique until the machine restarts, and what `bpf_get_netns_cookie` tells a program.
    pub fn cookie(&self) -> Result<u64, Error> {
        self.run(|| {
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            netns_cookie(socket.as_fd())
        })?
        .map_err(|error| {
            let hint = "SO_NETNS_COOKIE needs Linux 5.14";
            Error::syscall("getsockopt", format!("reading the cookie of {}", self.origin), hint, error)
        })
    }

    /// Runs `work` on a new thread inside this namespace, and waits for it.
    ///
    /// The thread ends with the work: a thread that has changed namespace never serves anything else. A panic of
    /// `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let inside = || {
            move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| {
                let hint = "entering a network namespace needs CAP_SYS_ADMIN";
                Error::syscall("setns", format!("entering {}", self.origin), hint, error)
            })?;
            Ok(work())
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, inside)
                .map_err(|error| Error::syscall("clone", "starting a thread for a network namespace", "", error))?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Where this namespace was found, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// `NSFS_MAGIC` of `linux/magic.h`.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// No crate in use has a safe wrapper of this option.
#[allow(unsafe_code)]
fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    use std::os::fd::AsRawFd;
    let mut cookie: u64 = 0;
    let mut length = nix::libc::socklen_t::try_from(size_of::<u64>()).expect("8 fits");
    // SAFETY: the descriptor is borrowed for the call; `cookie` and `length` are live, writable and of the sizes that
    // `length` and the option (a u64, net/core/sock.c) state; the kernel writes at most `length` bytes.
    let result = unsafe {
        nix::libc::getsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// `SO_NETNS_COOKIE` of `asm-generic/socket.h` (x86-64, arm64, riscv).
const SO_NETNS_COOKIE: i32 = 71;
