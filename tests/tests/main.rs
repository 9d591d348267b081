//! A labelled pod on a real node goes through the guard: clients, denials, every way round, the guard's own life.

#[path = "main/ways.rs"]
mod ways;

use std::sync::LazyLock;

use guard_e2e::harness::World;

/// Shared by all tests: one cluster, one guard on each node.
static WORLD: LazyLock<World> = LazyLock::new(World::set_up);
