//! Reads one file below a directory, whatever symbolic links somebody put there.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::UpstreamError;

/// `openat2` says EAGAIN when a rename anywhere on the system raced with `..`; the kubelet renames at each rotation.
const ATTEMPTS: usize = 16;

/// Opens `root` as it is, `volume` below it without following any symbolic link, and `name` in that, whose links (the kubelet's
/// `..data`) must not lead out of `volume`. Needs Linux 5.6.
pub(super) fn read_beneath(
    root: &Path,
    volume: &Path,
    name: &str,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, UpstreamError> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root_fd = openat(CWD, root, directory, Mode::empty()).map_err(cannot_open(root.to_owned()))?;

    let volume_path = root.join(volume);
    let volume_fd = open_beneath(&root_fd, volume, directory, ResolveFlags::NO_SYMLINKS)
        .map_err(cannot_open(volume_path.clone()))?;

    let path = volume_path.join(name);
    // Without NONBLOCK, a FIFO in the file's place would hold the guard's thread.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file =
        open_beneath(&volume_fd, Path::new(name), flags, ResolveFlags::empty()).map_err(cannot_open(path.clone()))?;
    read(file, path, limit)
}

fn open_beneath(at: &OwnedFd, path: &Path, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
    let open = || openat2(at, path, flags, Mode::empty(), resolve);
    let mut opened = open();
    for _ in 1..ATTEMPTS {
        if !matches!(opened, Err(Errno::AGAIN)) {
            break;
        }
        opened = open();
    }
    opened
}

fn read(file: OwnedFd, path: PathBuf, limit: usize) -> Result<Zeroizing<Vec<u8>>, UpstreamError> {
    let stat = match fstat(file.as_fd()) {
        Ok(stat) => stat,
        Err(errno) => return Err(UpstreamError::Read { path, source: errno.into() }),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(UpstreamError::NoToken { path, why: "it is no regular file" });
    }
    // All of it at once, or growing would leave copies behind that nobody wipes.
    let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
    let more_than_allowed = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    match File::from(file).take(more_than_allowed).read_to_end(&mut content) {
        Err(source) => Err(UpstreamError::Read { path, source }),
        Ok(_) if content.len() > limit => Err(UpstreamError::NoToken { path, why: "it is too long" }),
        Ok(_) => Ok(content),
    }
}

fn cannot_open(path: PathBuf) -> impl FnOnce(Errno) -> UpstreamError {
    move |errno| UpstreamError::Open { path, source: errno.into() }
}
