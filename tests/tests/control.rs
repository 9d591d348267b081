//! `guard control`: nodes get their certificates, which rotate under live agents; nobody else gets one; it may be away.

use std::sync::LazyLock;

#[path = "control/bed.rs"]
mod bed;
#[path = "control/labels.rs"]
mod labels;
#[path = "control/life.rs"]
mod life;
#[path = "control/nodes.rs"]
mod nodes;
#[path = "control/requests.rs"]
mod requests;
#[path = "control/rotation.rs"]
mod rotation;
#[path = "control/webhook.rs"]
mod webhook;

/// Shared by all tests: two nodes whose guards ask for their certificates, and two replicas of control.
static BED: LazyLock<bed::Bed> = LazyLock::new(bed::Bed::set_up);
