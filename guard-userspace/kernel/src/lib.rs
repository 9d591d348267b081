//! The kernel's side of the guard: programs, maps, pins, network namespaces and netlink.
//!
//! The only crate of the workspace with `unsafe` code; every block states why it is sound.

pub mod cgroup_namespace;
pub mod confine;
pub mod error;
pub mod interfaces;
pub mod kernel;
pub mod listener;
pub mod netfilter;
pub mod netns;
pub mod packet;
pub mod programs_of_others;
pub mod sockets;
pub mod terminal;
pub mod veth;

mod netlink;

pub use error::Error;
pub use kernel::{Kernel, Options, WorkloadId};
