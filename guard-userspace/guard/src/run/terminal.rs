//! The terminal and its signals: the command's own. The guard is of the same job, stops with it, and otherwise stays out of the way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use guard_kernel::terminal::{foreground, set_foreground};
use nix::libc;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getpgrp, getpid};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Those that somebody may send, or a terminal sends.
const HEARD: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Signals that wait to be listened to.
pub(super) struct Signals(SignalFd);

/// Signals as they come.
pub(super) struct Listening(UnboundedReceiver<Heard>);

/// What a signal is to the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The terminal sent it to the whole job: the command has it.
    ForAll,
    /// Somebody sent it to the guard: it is meant for the command.
    ForTheCommand(i32),
    /// The job goes on.
    Continue,
}

/// Whether there is a terminal of which this is the foreground job.
pub(super) struct Terminal {
    is_foreground: bool,
}

impl Signals {
    /// Keeps signals from ending this process, of all threads that are started from here on.
    pub(super) fn block() -> Result<Self> {
        let set: SigSet = HEARD.into_iter().collect();
        set.thread_block().context("blocking signals")?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).context("listening for signals")?))
    }

    /// Listens on a thread of its own, to the end of the process.
    pub(super) fn listen(self) -> Listening {
        let (sender, heard) = unbounded_channel();
        std::thread::spawn(move || {
            while let Ok(Some(signal)) = self.0.read_signal() {
                if sender.send(Heard::of(signal.ssi_signo.cast_signed(), signal.ssi_code)).is_err() {
                    break;
                }
            }
        });
        Listening(heard)
    }
}

impl Listening {
    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Result<Heard> {
        self.0.recv().await.context("the thread that listens for signals has ended")
    }
}

impl Heard {
    fn of(number: i32, code: i32) -> Self {
        match Signal::try_from(number) {
            Ok(Signal::SIGCONT) => Self::Continue,
            _ if code == libc::SI_KERNEL => Self::ForAll,
            _ => Self::ForTheCommand(number),
        }
    }
}

impl Terminal {
    /// Looks for one on the standard streams.
    pub(super) fn look() -> Self {
        let group = getpgrp().as_raw();
        Self { is_foreground: streams().iter().any(|stream| foreground(*stream) == Some(group)) }
    }

    /// After a command that has made another job the foreground one, as shells do.
    pub(super) fn take_back(&self) {
        if self.is_foreground {
            for stream in streams().into_iter().filter(|stream| foreground(*stream).is_some()) {
                // SIGTTOU is blocked. A terminal that has hung up needs nothing.
                let _ = set_foreground(stream, getpgrp().as_raw());
            }
        }
    }

    /// The command was stopped: whoever looks after the job sees it by the guard.
    pub(super) fn stop_as_well(&self) -> Result<()> {
        self.take_back();
        kill(getpid(), Signal::SIGSTOP).context("stopping with the command")
    }
}

fn streams() -> [BorrowedFd<'static>; 3] {
    static STREAMS: std::sync::LazyLock<(io::Stdin, io::Stdout, io::Stderr)> =
        std::sync::LazyLock::new(|| (io::stdin(), io::stdout(), io::stderr()));
    [STREAMS.0.as_fd(), STREAMS.1.as_fd(), STREAMS.2.as_fd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_terminal_sends_the_command_has_already() {
        let interrupt = Signal::SIGINT as i32;
        assert_eq!(Heard::of(interrupt, libc::SI_KERNEL), Heard::ForAll);
        assert_eq!(Heard::of(interrupt, libc::SI_USER), Heard::ForTheCommand(interrupt));
        assert_eq!(Heard::of(Signal::SIGCONT as i32, libc::SI_KERNEL), Heard::Continue);
    }
}
