//! The place in which `guard run` runs a command: a pod of one, made by hand.
//!
//! Four processes, all of one binary. The *guard* serves and decides. The *init* is the first process of the command's PID namespace: it
//! arranges the mounts and starts the command. The *command* begins as a step of ours that gives up every right. The *janitor* outlives the
//! guard and tidies up after it, whatever its end was; what two such ends at once leave is swept by the next run.

#![forbid(unsafe_code)]

mod cgroup;
pub mod dns;
mod error;
mod forwarding;
pub mod inside;
mod janitor;
mod message;
mod network;
mod place;
mod sockets;
mod state;
mod user;

pub use error::Error;
pub use inside::{KUBECONFIG, hidden, writable};
pub use janitor::tidy_up_after;
pub use message::{Control, Report, Setup};
pub use network::{KIN, Network};
pub use place::{Child, Place};
pub use sockets::listening;
pub use state::Run;
pub use user::User;

/// Exit code of `guard run` when the guard itself failed, as of docker and env.
pub const FAILED: u8 = 125;
/// The command is there and can't be run.
pub const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
pub const NOT_FOUND: u8 = 127;
