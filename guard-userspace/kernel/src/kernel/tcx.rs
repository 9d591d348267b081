//! The veth's program by tcx: a pinned link, first in order. Kernel 6.6.

use std::{os::fd::AsFd as _, path::Path};

use aya::programs::{
    LinkOrder, ProgramError, ProgramFd, SchedClassifier, TcAttachType, links::FdLink, tc::TcAttachOptions,
};

use super::{
    link::{self, Updated},
    pins,
    programs::{VETH_PROGRAM, not_a_link, patiently},
};
use crate::Error;

/// Links on interfaces of the calling thread's network namespace.
pub(super) struct Tcx {
    /// The same program, loaded once more: an interface takes a program once (`bpf_mprog_attach`: EEXIST), and a link's
    /// place in the order is for good.
    stand_in: ProgramFd,
}

impl Tcx {
    /// Loads the program, and its stand-in.
    pub(super) fn load(program: &mut SchedClassifier) -> Result<Self, ProgramError> {
        patiently(|| program.load())?;
        let stand_in = program.fd()?.try_clone().map_err(ProgramError::IOError)?;
        program.unload()?;
        patiently(|| program.load())?;
        Ok(Self { stand_in })
    }

    /// Makes `program` the first that the interface runs; whether it wasn't. Meanwhile there is no instant without it, if its
    /// link is still there.
    pub(super) fn put_first(
        &self,
        program: &mut SchedClassifier,
        interface: u32,
        name: &str,
        pin: &Path,
    ) -> Result<bool, Error> {
        if link::is_first(pin, interface)? {
            return Ok(false);
        }
        if pin.exists() && link::update(pin, self.stand_in.as_fd())? == Updated::Severed {
            pins::remove_link(pin)?;
        }
        let failed = |error| Error::Attach { program: VETH_PROGRAM, to: name.to_owned(), source: error };
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(name, TcAttachType::Ingress, options).map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let link = FdLink::try_from(link).map_err(|error| failed(not_a_link(error)))?;
        let next = pins::next(pin);
        link.pin(&next).map_err(|error| Error::Pin { path: next.clone(), source: Box::new(error) })?;
        if pin.exists() {
            link::detach(pin)?;
        }
        pins::replace(&next, pin)?;
        Ok(true)
    }
}
