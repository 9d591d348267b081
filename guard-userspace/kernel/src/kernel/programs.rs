//! The programs: loaded, attached to a pod's cgroup and veth, replaced in place.

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapData, RingBuf},
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, LinkOrder, Program, ProgramError,
        TcAttachType,
        links::{FdLink, LinkError},
        loaded_programs,
        tc::TcAttachOptions,
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
};
use crate::Error;

static OBJECT: &[u8] = include_bytes_aligned!(env!("GUARD_EBPF_OBJECT"));

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
const VETH_PROGRAM: &str = "guard_veth_ingress";

pub(super) struct Programs {
    ebpf: Ebpf,
    /// Where there is no tcx.
    clsact: Option<Clsact>,
}

/// How often a loaded program has run, where `kernel.bpf_stats_enabled` is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRuns {
    /// The program's name, cut to 15 bytes by the kernel.
    pub name: String,
    /// The kernel's number for it.
    pub id: u32,
    /// How often it ran since it was loaded.
    pub runs: u64,
}

/// All of the guard's programs in this kernel, those of other guards and of earlier processes included.
pub fn program_runs() -> Result<Vec<ProgramRuns>, Error> {
    let mut runs = Vec::new();
    for program in loaded_programs() {
        let program = program.map_err(|error| Error::program("listing", "", error))?;
        if let Some(name) = program.name_as_str().filter(|name| name.starts_with("guard_")) {
            runs.push(ProgramRuns { name: name.to_owned(), id: program.id(), runs: program.run_count() });
        }
    }
    Ok(runs)
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
    for (name, program) in ebpf.programs_mut() {
        match program {
            Program::CgroupSockAddr(program) => program.load(),
            Program::CgroupSkb(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            _ => continue,
        }
        .map_err(|error| Error::program("loading", name, error))?;
    }
    if options.log_programs {
        log::forward(&mut ebpf)?;
    }
    let (maps, ring) = Maps::take(&mut ebpf)?;
    let clsact = if has_tcx() { None } else { Some(Clsact::open()?) };
    Ok((Programs { ebpf, clsact }, maps, ring))
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
        self.with_clsact(|clsact, program| clsact.replace(interface, VETH_PROGRAM, program))
    }

    /// Ends the program on a veth that needs no pin; the others end with their pins.
    pub(super) fn detach_veth(&mut self, interface: u32) -> Result<(), Error> {
        self.clsact.as_mut().map_or(Ok(()), |clsact| clsact.detach(interface))
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

    pub(super) fn attach_veth(
        &mut self,
        interface: u32,
        name: &str,
        pinned: &Pinned,
        pins: &Pins,
    ) -> Result<(), Error> {
        if self.clsact.is_some() {
            return self.with_clsact(|clsact, program| clsact.attach(interface, VETH_PROGRAM, program));
        }
        let pin = pins.pod(pinned).join(format!("{VETH_PROGRAM}-{interface}"));
        if pin.exists() {
            return Ok(());
        }
        let Program::SchedClassifier(program) = self.program(VETH_PROGRAM)? else {
            return Err(Error::MissingInObject { kind: "program", name: VETH_PROGRAM });
        };
        let failed = |error| Error::Attach { program: VETH_PROGRAM, to: name.to_owned(), source: error };
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(name, TcAttachType::Ingress, options).map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let link = FdLink::try_from(link).map_err(|error| failed(not_a_link(error)))?;
        link.pin(&pin).map_err(|error| Error::Pin { path: pin.clone(), source: Box::new(error) })?;
        Ok(())
    }

    fn with_clsact(
        &mut self,
        work: impl FnOnce(&mut Clsact, BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(clsact) = &mut self.clsact else {
            return Ok(());
        };
        let name = VETH_PROGRAM;
        let program = self.ebpf.program(name).ok_or(Error::MissingInObject { kind: "program", name })?;
        let descriptor = program.fd().map_err(|error| Error::program("attaching", name, error))?;
        work(clsact, descriptor.as_fd())
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
fn not_a_link(error: LinkError) -> ProgramError {
    ProgramError::IOError(std::io::Error::other(error))
}
