//! What can go wrong between the guard and the kernel, and what to look at next.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, pin::PinError, programs::ProgramError};

/// A failed attempt to make the kernel do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{doing}: {call}: {source}{}{hint}", if hint.is_empty() { "" } else { "; " })]
    Syscall {
        /// The system call, or the netlink request.
        call: &'static str,
        /// What was tried, on what.
        doing: String,
        /// What to check next; empty where the kernel's own error says it all.
        hint: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A pod has a way out that does not pass a veth end on the host.
    #[error(
        "the pod's interface {interface} ({kind}) can't be guarded: {reason}; an agent pod may have veth interfaces \
         only, with their other ends in the host's network namespace (no macvlan, ipvlan, SR-IOV)"
    )]
    SecondaryInterface {
        /// Its name in the pod.
        interface: String,
        /// What the kernel calls it.
        kind: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The machine lacks something.
    #[error("the guard needs {what}; {fix}")]
    Unmet {
        /// What is missing.
        what: &'static str,
        /// What to do.
        fix: &'static str,
    },
    /// The directory for the pins is on another kind of file system.
    #[error(
        "{} is not on a bpffs: pins need one. Name a directory below /sys/fs/bpf; if nothing is mounted there on the node, `mount -t bpf bpf \
         /sys/fs/bpf` does it, and the guard's pod has to be started anew",
        directory.display()
    )]
    NotBpffs {
        /// The directory.
        directory: PathBuf,
    },
    /// Another version of the guard left its pins.
    #[error(
        "{} holds pins of the layout {found}, and this guard knows {known}: run the guard that made them until its agents \
         are gone, or end their enforcement with `guard release --reason … --pin-directory {}` of that version",
        directory.display(), directory.display()
    )]
    UnknownLayout {
        /// The directory.
        directory: PathBuf,
        /// What was found there.
        found: String,
        /// What this guard makes.
        known: String,
    },
    /// A pinned link that none of the programs is for.
    #[error("the pin {} is of no program of this guard's; remove it if no other guard uses this directory", pin.display())]
    UnknownPin {
        /// The pin.
        pin: PathBuf,
    },
    /// The embedded object lacks a program or a map: it is from another version of the sources.
    #[error("the kernel object holds no {kind} named {name}: rebuild both with `cargo xtask build`")]
    MissingInObject {
        /// Program or map.
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// Maps could not be made, or the object could not be read.
    #[error("loading the kernel programs' maps: {}", chain(.0.as_ref()))]
    Load(#[source] Box<EbpfError>),
    /// A program could not be loaded.
    #[error("{doing} the kernel program {program}: {}; CAP_BPF, CAP_NET_ADMIN, the kernel's version?", chain(source.as_ref()))]
    Program {
        /// What was being done.
        doing: &'static str,
        /// Its name.
        program: String,
        /// The kernel's answer, the verifier's log included.
        #[source]
        source: Box<ProgramError>,
    },
    /// A program could not be attached.
    #[error("attaching {program} to {to}: {}; does it still exist? CAP_NET_ADMIN?", chain(source))]
    Attach {
        /// The program.
        program: &'static str,
        /// The cgroup or the interface.
        to: String,
        /// The kernel's answer.
        #[source]
        source: ProgramError,
    },
    /// A link could not be pinned.
    #[error("pinning a link at {}: {}; is the bpffs read-only?", path.display(), chain(source.as_ref()))]
    Pin {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Box<PinError>,
    },
    /// A map could not be read or written.
    #[error("{doing}: the map {map}: {}", chain(source.as_ref()))]
    Map {
        /// The map's name.
        map: &'static str,
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer; E2BIG: the map is full.
        #[source]
        source: Box<MapError>,
    },
    /// A workload that was never attached, or is released.
    #[error("the workload {workload} is not enrolled: attach its pod first")]
    UnknownWorkload {
        /// Its number.
        workload: u64,
    },
}

impl Error {
    /// A failed system call, with what was being done and what to check next.
    pub fn syscall(
        call: &'static str,
        doing: impl Into<String>,
        hint: &'static str,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Syscall { call, doing: doing.into(), hint, source: source.into() }
    }

    pub(crate) fn map(map: &'static str, doing: &'static str, source: MapError) -> Self {
        Self::Map { map, doing, source: Box::new(source) }
    }

    pub(crate) fn program(doing: &'static str, program: &str, source: ProgramError) -> Self {
        Self::Program { doing, program: program.to_owned(), source: Box::new(source) }
    }
}

/// An error with its causes: aya's own messages name the system call and leave the kernel's answer to `source`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
