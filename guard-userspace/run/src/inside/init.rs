//! The first process of the command's PID namespace. With it, everything in there ends.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

use guard_kernel::confine::inherited;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};

use super::{COMMAND_ROLE, mounts};
use crate::message::Channel;
use crate::{Control, Error, FAILED, NOT_EXECUTABLE, Report, Setup, User};

/// What [`become_command`](super::become_command) writes once it has a user namespace.
pub(super) const UNSHARED: u8 = b'u';
/// What it waits for: the namespace knows the user.
pub(super) const MAPPED: u8 = b'm';

/// The init itself; `control` is its end of the pair of sockets. Returns when the command has ended, or the guard has.
pub fn init(control: RawFd, command: &[OsString]) -> Result<(), Error> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| Error::step("binding the init to the guard", "", error))?;
    let mut channel = Channel::new(UnixStream::from(inherited(control)?));
    let lost = |error: std::io::Error| Error::Init(error.to_string());
    // The guard may have ended before the binding.
    let Some(setup) = channel.receive::<Setup>().map_err(lost)? else { return Ok(()) };
    let pid = match start(&setup, command) {
        Ok(Ok(pid)) => pid,
        Ok(Err((code, why))) => return channel.send(&Report::Failed(code, why)).map_err(lost),
        Err(error) => return channel.send(&Report::Failed(FAILED, error.to_string())).map_err(lost),
    };
    channel.send(&Report::Started).map_err(lost)?;
    attend(pid, &mut channel)
}

/// The command's process, or the exit code and the sentence that say why there is none.
fn start(setup: &Setup, command: &[OsString]) -> Result<Result<Pid, (u8, String)>, Error> {
    // The guard has put this process into the run's cgroup by now, which becomes the root of what is seen.
    unshare(CloneFlags::CLONE_NEWCGROUP)
        .map_err(|error| Error::step("making a cgroup namespace", "the kernel needs CONFIG_CGROUPS", error))?;
    mounts::arrange(setup)?;
    let failed = |error| Error::step("starting the command's first step", "", error);
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    fcntl_setfd(&theirs, FdFlags::empty()).map_err(|error| failed(error.into()))?;
    let User { uid, gid, .. } = &setup.user;
    let child = Command::new("/proc/self/exe")
        .arg(COMMAND_ROLE)
        .args(["--sync", &theirs.as_raw_fd().to_string()])
        .args(["--uid", &uid.to_string(), "--gid", &gid.to_string(), "--directory"])
        .arg(&setup.directory)
        .arg("--")
        .args(command)
        .spawn()
        .map_err(failed)?;
    drop(theirs);
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut byte = [0];
    if ours.read(&mut byte).map_err(failed)? == 1 && byte == [UNSHARED] {
        map(pid, setup)?;
        ours.write_all(&[MAPPED]).map_err(failed)?;
    }
    // Closed by a successful exec; else it says what is wrong.
    let mut text = String::new();
    ours.read_to_string(&mut text).map_err(failed)?;
    let Some((code, why)) = text.split_once(' ') else { return Ok(Ok(pid)) };
    Ok(Err((code.parse().unwrap_or(NOT_EXECUTABLE), why.to_owned())))
}

/// The user is themselves in the new user namespace, and nobody else is anybody.
fn map(pid: Pid, setup: &Setup) -> Result<(), Error> {
    for (name, id) in [("uid_map", setup.user.uid), ("gid_map", setup.user.gid)] {
        let file = format!("/proc/{pid}/{name}");
        std::fs::write(&file, format!("{id} {id} 1"))
            .map_err(|error| Error::file("writing", &file, "the kernel needs CONFIG_USER_NS", error))?;
    }
    Ok(())
}

/// Waits for the command's end; passes signals on; buries whatever else ends in the namespace.
fn attend(command: Pid, channel: &mut Channel) -> Result<(), Error> {
    let failed = |error: Errno| Error::step("waiting for the command", "", error);
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(failed)?;
    let ended = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(failed)?;
    loop {
        // Anew each time: one signal may stand for several, and some came before it was blocked.
        while let Some(report) = reap(command) {
            let is_end = matches!(report, Report::Ended(_));
            if channel.send(&report).is_err() || is_end {
                return Ok(());
            }
        }
        let mut events = [PollFd::new(&ended, PollFlags::IN), PollFd::new(&*channel, PollFlags::IN)];
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::step("waiting for the command", "", error)),
        }
        let told = !events[1].revents().is_empty();
        while let Ok(Some(_)) = ended.read_signal() {}
        while told || channel.has_message() {
            match channel.receive() {
                Ok(Some(Control::Signal(number))) => {
                    if let Ok(signal) = Signal::try_from(number) {
                        // It may be ending at this moment.
                        let _ = kill(command, signal);
                    }
                }
                // Without the guard there is no command.
                Ok(None) | Err(_) => return Ok(()),
            }
            if !channel.has_message() {
                break;
            }
        }
    }
}

/// What has happened to the command; other processes of the namespace are buried on the way.
fn reap(command: Pid) -> Option<Report> {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
    loop {
        match waitpid(None, Some(flags)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => {
                return Some(Report::Ended(u8::try_from(code & 0xff).expect("8 bits")));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                return Some(Report::Ended(128_u8.saturating_add(u8::try_from(signal as i32).unwrap_or(127))));
            }
            Ok(WaitStatus::Stopped(pid, _)) if pid == command => return Some(Report::Stopped),
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}
