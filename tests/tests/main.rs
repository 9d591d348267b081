//! A labelled pod on a real node goes through the guard: clients, denials, every way round, the guard's own life.

use std::sync::LazyLock;

use guard_e2e::harness::World;

#[path = "main/clients.rs"]
mod clients;
#[path = "main/connects.rs"]
mod connects;
#[path = "main/datagrams.rs"]
mod datagrams;
#[path = "main/denials.rs"]
mod denials;
#[path = "main/frames.rs"]
mod frames;
#[path = "main/gate.rs"]
mod gate;
#[path = "main/life.rs"]
mod life;
#[path = "main/listener.rs"]
mod listener;
#[path = "main/other_doors.rs"]
mod other_doors;
#[path = "main/other_nodes.rs"]
mod other_nodes;
#[path = "main/silence.rs"]
mod silence;
#[path = "main/sockets.rs"]
mod sockets;
#[path = "main/table.rs"]
mod table;
#[path = "main/tampering.rs"]
mod tampering;

/// Shared by all tests: one cluster, one guard on each node.
static WORLD: LazyLock<World> = LazyLock::new(World::set_up);
