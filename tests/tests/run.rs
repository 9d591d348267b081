//! `guard run`: one command under guard with the caller's own kubeconfig; what it can't leave; what is left of it.

use std::sync::LazyLock;

#[path = "run/bed.rs"]
mod bed;
#[path = "run/credentials.rs"]
mod credentials;
#[path = "run/ends.rs"]
mod ends;
#[path = "run/leaving.rs"]
mod leaving;
#[path = "run/network.rs"]
mod network;
#[path = "run/requests.rs"]
mod requests;

/// Shared by all tests: a cluster, and a user's home with all that is in one.
static BED: LazyLock<bed::Bed> = LazyLock::new(bed::Bed::set_up);
