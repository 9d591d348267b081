//! In the command's namespaces: the init, and the step that becomes the command.

mod command;
mod hide;
mod init;
mod mounts;

pub use command::{become_command, become_user};
pub use hide::hidden;
pub use init::init;
pub use mounts::{KUBECONFIG, writable};

/// The roles' names on the guard's command line.
pub(crate) const INIT_ROLE: &str = "run-init";
pub(crate) const COMMAND_ROLE: &str = "run-command";
