//! The namespaces of nodes and of the control plane: what an administrator of the machine sees and sets.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::kubectl::{Answer, run};

/// A network namespace of the cluster, or of a pod.
#[derive(Clone, Debug)]
pub struct NodeNetns {
    path: PathBuf,
}

impl NodeNetns {
    /// The namespace at this path.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command inside it, of the machine's file system.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        xtask::netns::command_in(&self.path, program)
    }

    /// Runs a line of shell inside it.
    pub fn try_sh(&self, line: &str) -> Answer {
        let mut command = self.command("sh");
        command.args(["-c", line]);
        run(command, "")
    }

    /// Runs a line of shell inside it, which must end well.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        self.try_sh(line).ok()
    }

    /// Runs a closure on a thread inside it.
    #[track_caller]
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        xtask::netns::run_in(&self.path, move || Ok(work())).expect("entering a namespace of the cluster")
    }
}
