//! A place for one command: made before the command is started, gone after it.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::thread::JoinHandle;

use guard_kernel::netns::Netns;
use nix::sched::{CloneFlags, unshare};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::janitor::Janitor;
use crate::message::Channel;
use crate::{Control, Error, Network, Report, Run, Setup, cgroup, inside};

/// Namespaces, cgroup and network, and an init that waits in them.
pub struct Place {
    /// Its number and names.
    pub run: Run,
    /// The host's network namespace.
    pub host: Netns,
    /// The command's; the host's if that is shared.
    pub netns: Netns,
    /// The veth; none if the host's network is shared.
    pub network: Option<Network>,
    janitor: Janitor,
    channel: Channel,
    init: JoinHandle<std::io::Result<ExitStatus>>,
}

/// A command that was started, or will say why not.
pub struct Child {
    /// What the init tells. Closed when it is gone.
    pub reports: UnboundedReceiver<Report>,
    channel: Channel,
    run: Run,
    janitor: Janitor,
    _init: JoinHandle<std::io::Result<ExitStatus>>,
}

impl Place {
    /// Call it while this process has one thread: it gets mounts of its own, which all its threads shall have.
    pub fn prepare(
        command: &[OsString],
        environment: &[(OsString, OsString)],
        share_network: bool,
    ) -> Result<Self, Error> {
        let run = Run::begin()?;
        own_mounts()?;
        // From here on, whatever is made is taken back.
        let janitor = Janitor::start(&run)?;
        bpffs(&run.bpffs())?;
        cgroup::make(run.cgroup())?;
        let host = Netns::current()?;
        let (channel, netns, init) = start_init(command, environment, share_network, run.cgroup())?;
        let network = if share_network { None } else { Some(Network::make(&run, &host, &netns)?) };
        Ok(Self { run, host, netns, network, janitor, channel, init })
    }

    /// The command's cgroup.
    pub fn cgroup(&self) -> &Path {
        self.run.cgroup()
    }

    /// Has the command started. Everything that guards it is in place.
    pub fn start(mut self, setup: &Setup) -> Result<Child, Error> {
        let gone = |error: std::io::Error| Error::Init(error.to_string());
        self.channel.send(setup).map_err(gone)?;
        let reader = self.channel.as_fd().try_clone_to_owned().map_err(gone)?;
        let (sender, reports) = unbounded_channel();
        std::thread::spawn(move || {
            let mut channel = Channel::new(UnixStream::from(reader));
            while let Ok(Some(report)) = channel.receive() {
                if sender.send(report).is_err() {
                    break;
                }
            }
        });
        Ok(Child { reports, channel: self.channel, run: self.run, janitor: self.janitor, _init: self.init })
    }
}

impl Child {
    /// Passes a signal on to the command. One that has ended gets none.
    pub fn signal(&mut self, number: i32) {
        // The init is gone: its last report says so.
        let _ = self.channel.send(&Control::Signal(number));
    }

    /// Ends what still runs, and takes back all that was made.
    pub fn end(self) -> Result<(), Error> {
        let Self { run, janitor, channel, .. } = self;
        drop(channel);
        janitor.finish()?;
        drop(run);
        Ok(())
    }
}

/// What is mounted here from now on, the host doesn't see; what the host mounts is seen here.
fn own_mounts() -> Result<(), Error> {
    let hint = "it needs CAP_SYS_ADMIN; a container needs --privileged";
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| Error::step("unsharing the mounts", hint, error))?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| Error::step("keeping mounts from the host", hint, error))
}

/// Pins there end with the last process of ours that sees it.
fn bpffs(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir(folder).map_err(|error| Error::file("making", folder, "", error))?;
    mount("bpf", folder, "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None).map_err(|error| {
        Error::file(
            "mounting a bpffs at",
            folder,
            "the kernel needs CONFIG_BPF_SYSCALL, the guard CAP_SYS_ADMIN",
            error,
        )
    })
}

/// The thread that starts the init stays with it: the init dies when the thread does, and so with the guard.
fn start_init(
    command: &[OsString],
    environment: &[(OsString, OsString)],
    share_network: bool,
    cgroup: &Path,
) -> Result<(Channel, Netns, JoinHandle<std::io::Result<ExitStatus>>), Error> {
    let failed = |error: std::io::Error| {
        Error::step("making namespaces", "it needs CAP_SYS_ADMIN; a container needs --privileged", error)
    };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    fcntl_setfd(&theirs, FdFlags::empty()).map_err(|error| failed(error.into()))?;
    let mut init = Command::new("/proc/self/exe");
    init.arg(inside::INIT_ROLE)
        .args(["--control", &theirs.as_raw_fd().to_string(), "--"])
        .args(command)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let mut namespaces =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if !share_network {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    let (made, is_made) = mpsc::sync_channel(1);
    let thread = std::thread::spawn(move || {
        let mut start = || -> Result<_, Error> {
            unshare(namespaces).map_err(|error| failed(error.into()))?;
            Ok((Netns::current()?, init.spawn().map_err(failed)?))
        };
        let (netns, mut child) = match start() {
            Ok(started) => started,
            Err(error) => {
                let _ = made.send(Err(error));
                return Err(std::io::Error::other("not started"));
            }
        };
        drop((theirs, made.send(Ok((netns, child.id())))));
        child.wait()
    });
    let (netns, pid) = is_made.recv().map_err(|_| Error::Init("its thread ended".to_owned()))??;
    cgroup::enter(cgroup, pid)?;
    Ok((Channel::new(ours), netns, thread))
}
