//! Which programs of others this kernel holds at the kinds of hooks that the guard uses.

use aya::programs::{ProgramInfo, ProgramType, loaded_programs};

/// What the names of the guard's own begin with.
const OWN: &str = "guard_";

/// A program that somebody else has loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// The kind of hook: `cgroup_sock_addr`, `cgroup_skb` or `sched_cls`.
    pub hook: &'static str,
    /// Its name, as its maker gave it, shortened by the kernel.
    pub name: String,
}

/// All of them, each name once. That a program is loaded does not say where it is attached.
pub fn loaded() -> Vec<Program> {
    let mut found = Vec::new();
    for program in loaded_programs() {
        // It may have ended meanwhile.
        let Ok(program) = program else { continue };
        let Some(hook) = hook(&program) else { continue };
        let name = program.name_as_str().unwrap_or_default().to_owned();
        if !name.starts_with(OWN) {
            found.push(Program { hook, name });
        }
    }
    found.sort();
    found.dedup();
    found
}

fn hook(program: &ProgramInfo) -> Option<&'static str> {
    let kind = program.program_type();
    if kind == ProgramType::CgroupSockAddr.into() {
        Some("cgroup_sock_addr")
    } else if kind == ProgramType::CgroupSkb.into() {
        Some("cgroup_skb")
    } else if kind == ProgramType::SchedClassifier.into() {
        Some("sched_cls")
    } else {
        None
    }
}
