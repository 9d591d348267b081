//! What an agent sees when something happens to its guard, its node, or the cluster: never the API server itself. docs/failures.md has a line for each.

use std::sync::LazyLock;

use crate::bed::Bed;

#[path = "life/bed.rs"]
mod bed;
#[path = "life/guards.rs"]
mod guards;
#[path = "life/nodes.rs"]
mod nodes;
#[path = "life/pods.rs"]
mod pods;

/// One cluster with the guard installed, for all of them.
static BED: LazyLock<Bed> = LazyLock::new(Bed::set_up);
