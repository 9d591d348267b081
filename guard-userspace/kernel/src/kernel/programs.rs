//! The programs: loaded, attached to a pod's cgroup and veth, replaced in place.

use std::{fs::File, io::ErrorKind, os::fd::AsFd as _, path::Path};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapData, RingBuf},
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Program, ProgramError,
        links::{FdLink, LinkError},
    },
};

use super::{
    Options, Pinned,
    clsact::Clsact,
    link,
    link::Updated,
    log,
    maps::{Maps, PINNED},
    pins::{self, Pins},
    requirements::has_tcx,
    tcx::Tcx,
};
use crate::Error;

static OBJECT: &[u8] = include_bytes_aligned!(env!("GUARD_EBPF_OBJECT"));

/// A process that is signalled more often than that comes to nothing anyway.
const LOAD_ATTEMPTS: u32 = 20;

/// The hooks on a pod's cgroup; a pin has its program's name.
const CGROUP_PROGRAMS: [&str; 9] = [
    "guard_connect4",
    "guard_connect6",
    "guard_sendmsg4",
    "guard_sendmsg6",
    "guard_bind4",
    "guard_bind6",
    "guard_getpeername4",
    "guard_getpeername6",
    "guard_skb_egress",
];
pub(super) const VETH_PROGRAM: &str = "guard_veth_ingress";

const MISSING: Error = Error::MissingInObject { kind: "program", name: VETH_PROGRAM };

pub(super) struct Programs {
    ebpf: Ebpf,
    veths: Veths,
}

/// How the program gets to the veths.
enum Veths {
    Tcx(Tcx),
    Clsact(Clsact),
}

pub(super) fn load(options: &Options, pins: &Pins) -> Result<(Programs, Maps, RingBuf<MapData>), Error> {
    let mut loader = EbpfLoader::new();
    let directory = pins.maps();
    for name in PINNED {
        loader.map_pin_path(name, directory.join(name));
    }
    let prefix = options.nat64_prefix.0;
    let word = |at: usize| u32::from_ne_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
    let prefix = [word(0), word(4), word(8)];
    let level = if options.log_programs { aya_log::Level::Debug as u8 } else { 0 };
    loader.override_global("AGENT_MARK", &options.mark, true);
    loader.override_global("NAT64_PREFIX", &prefix, true);
    loader.override_global("AYA_LOG_LEVEL", &level, true);
    let mut ebpf = loader.load(OBJECT).map_err(|error| Error::Load(Box::new(error)))?;
    let mut tcx = None;
    for (name, program) in ebpf.programs_mut() {
        match program {
            Program::CgroupSockAddr(program) => patiently(|| program.load()),
            Program::CgroupSkb(program) => patiently(|| program.load()),
            Program::SchedClassifier(program) if has_tcx() => Tcx::load(program).map(|loaded| tcx = Some(loaded)),
            Program::SchedClassifier(program) => patiently(|| program.load()),
            _ => continue,
        }
        .map_err(|error| Error::program("loading", name, error))?;
    }
    if options.log_programs {
        log::forward(&mut ebpf)?;
    }
    let (maps, ring) = Maps::take(&mut ebpf)?;
    let veths = match tcx {
        Some(tcx) => Veths::Tcx(tcx),
        None => Veths::Clsact(Clsact::open()?),
    };
    Ok((Programs { ebpf, veths }, maps, ring))
}

/// Loads again what a signal has interrupted: the verifier gives up with EAGAIN when one is pending (`do_check`), be it that the process is
/// stopped, traced or frozen. That says nothing about the program.
pub(super) fn patiently(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    for _ in 1..LOAD_ATTEMPTS {
        match load() {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
    load()
}

impl Programs {
    /// Makes a pinned link of an earlier process run this process's program.
    pub(super) fn take_over(&mut self, pin: &Path) -> Result<(), Error> {
        let name = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The veth's pin has the interface's index behind the program's name.
        let name = if name.starts_with(VETH_PROGRAM) { VETH_PROGRAM } else { name };
        let program = self.ebpf.program(name).ok_or_else(|| Error::UnknownPin { pin: pin.to_owned() })?;
        let descriptor = program.fd().map_err(|error| Error::program("taking over with", name, error))?;
        match link::update(pin, descriptor.as_fd())? {
            Updated::Replaced => Ok(()),
            // A pod ended, or got a new sandbox, while nobody looked.
            Updated::Severed => pins::remove_link(pin),
        }
    }

    /// The same for a veth whose program needs no pin.
    pub(super) fn take_over_veth(&mut self, interface: u32) -> Result<(), Error> {
        let Veths::Clsact(clsact) = &mut self.veths else {
            return Ok(());
        };
        let program = self.ebpf.program(VETH_PROGRAM).ok_or(MISSING)?;
        let descriptor = program.fd().map_err(|error| Error::program("taking over with", VETH_PROGRAM, error))?;
        clsact.replace(interface, VETH_PROGRAM, descriptor.as_fd())
    }

    /// Ends the program on a veth that needs no pin; the others end with their pins.
    pub(super) fn detach_veth(&mut self, interface: u32) -> Result<(), Error> {
        match &mut self.veths {
            Veths::Tcx(_) => Ok(()),
            Veths::Clsact(clsact) => clsact.detach(interface),
        }
    }

    pub(super) fn attach_cgroup(
        &mut self,
        cgroup: &File,
        path: &Path,
        pinned: &Pinned,
        pins: &Pins,
    ) -> Result<(), Error> {
        let directory = pins.pod(pinned);
        for name in CGROUP_PROGRAMS {
            let pin = directory.join(name);
            if pin.exists() {
                continue;
            }
            let link = match self.program(name)? {
                Program::CgroupSockAddr(program) => attach_sock_addr(program, cgroup),
                Program::CgroupSkb(program) => attach_skb(program, cgroup),
                _ => return Err(Error::MissingInObject { kind: "program", name }),
            };
            let link =
                link.map_err(|error| Error::Attach { program: name, to: path.display().to_string(), source: error })?;
            link.pin(&pin).map_err(|error| Error::Pin { path: pin.clone(), source: Box::new(error) })?;
        }
        Ok(())
    }

    /// Makes the veth's program the first that the interface runs; whether it wasn't.
    pub(super) fn put_first(
        &mut self,
        interface: u32,
        name: &str,
        pinned: &Pinned,
        pins: &Pins,
    ) -> Result<bool, Error> {
        let Some(Program::SchedClassifier(program)) = self.ebpf.program_mut(VETH_PROGRAM) else {
            return Err(MISSING);
        };
        match &mut self.veths {
            Veths::Tcx(tcx) => {
                tcx.put_first(program, interface, name, &pins.pod(pinned).join(format!("{VETH_PROGRAM}-{interface}")))
            }
            Veths::Clsact(clsact) => {
                let descriptor = program.fd().map_err(|error| Error::program("attaching", VETH_PROGRAM, error))?;
                clsact.put_first(interface, VETH_PROGRAM, descriptor.as_fd())
            }
        }
    }

    fn program(&mut self, name: &'static str) -> Result<&mut Program, Error> {
        self.ebpf.program_mut(name).ok_or(Error::MissingInObject { kind: "program", name })
    }
}

fn attach_sock_addr(program: &mut CgroupSockAddr, cgroup: &File) -> Result<FdLink, ProgramError> {
    let id = program.attach(cgroup, CgroupAttachMode::Single)?;
    FdLink::try_from(program.take_link(id)?).map_err(not_a_link)
}

fn attach_skb(program: &mut CgroupSkb, cgroup: &File) -> Result<FdLink, ProgramError> {
    let id = program.attach(cgroup, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?;
    FdLink::try_from(program.take_link(id)?).map_err(not_a_link)
}

/// Links of cgroups came with 5.7: older kernels are refused at the start.
pub(super) fn not_a_link(error: LinkError) -> ProgramError {
    ProgramError::IOError(std::io::Error::other(error))
}
