//! kubectl: a row is a script, run in a guarded pod and in an ordinary one. What they print must be equal.

use std::sync::LazyLock;

use guard_e2e::harness::{Agent, Pair};
use xtask::images;

use crate::WORLD;

#[path = "kubectl/access.rs"]
mod access;
#[path = "kubectl/bytes.rs"]
mod bytes;
#[path = "kubectl/creating.rs"]
mod creating;
#[path = "kubectl/deleting.rs"]
mod deleting;
#[path = "kubectl/identity.rs"]
mod identity;
#[path = "kubectl/library.rs"]
mod library;
#[path = "kubectl/nodes.rs"]
mod nodes;
#[path = "kubectl/reading.rs"]
mod reading;
#[path = "kubectl/row.rs"]
mod row;
#[path = "kubectl/streams.rs"]
mod streams;
#[path = "kubectl/watching.rs"]
mod watching;
#[path = "kubectl/workloads.rs"]
mod workloads;
#[path = "kubectl/writing.rs"]
mod writing;

/// Shared by all rows.
static PAIR: LazyLock<Pair> = LazyLock::new(|| WORLD.pair("kubectl", Agent("unhindered"), images::AGENT));
