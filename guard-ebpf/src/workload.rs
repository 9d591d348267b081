//! Whose a cgroup is, for what is not in the workload's own network namespace.

use guard_common::UNKNOWN_WORKLOAD;

use crate::maps::CGROUPS;

/// Deepest cgroup looked at: `kubepods/<qos>/pod<uid>` below the nesting of a node that is itself a container.
const MAX_CGROUP_LEVEL: i32 = 12;

/// The workload among a cgroup's ancestors. `ancestor` gives the id of the one at a level, 0 where there is none.
#[inline(always)]
pub fn among_ancestors(ancestor: impl Fn(i32) -> u64) -> u64 {
    for level in 1..=MAX_CGROUP_LEVEL {
        let cgroup = ancestor(level);
        if cgroup == 0 {
            break;
        }
        if CGROUPS.get_ptr(&cgroup).is_some() {
            return cgroup;
        }
    }
    UNKNOWN_WORKLOAD
}
