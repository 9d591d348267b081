//! The guard by Helm: installed into a cluster of two nodes, labelled, met by an agent, upgraded under load, rolled back, tested, released, and
//! uninstalled without a trace.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[path = "install/agents.rs"]
mod agents;
#[path = "install/docs.rs"]
mod docs;
#[path = "install/life.rs"]
mod life;
#[path = "install/rendering.rs"]
mod rendering;
#[path = "install/rights.rs"]
mod rights;
#[path = "install/webhook.rs"]
mod webhook;

/// What one test installs and takes away, another must not be trying on the API server.
static TURN: Mutex<()> = Mutex::new(());

/// A test that failed has released what it held.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
