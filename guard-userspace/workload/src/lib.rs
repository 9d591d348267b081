//! Which processes of a node are agents: pods and their cgroups, network namespaces and lives.
//!
//! [`Agents`] follows the pods of one node. Each agent pod gets a keeper that finds its cgroup before its first process, its network
//! namespace as soon as there is one, and moves its [`Lifecycle`] along; what that asks of the kernel goes through [`Enforcement`].
//! The label on the pod itself decides. (A label on its namespace reaches the pod by admission.)

#![forbid(unsafe_code)]

mod agents;
mod cgroup2;
mod changes;
mod keeper;
mod lifecycle;
mod network;
mod pod;
mod pod_cgroup;
mod processes;

pub use agents::Agents;
pub use cgroup2::{Cgroup2Error, mount_point};
pub use keeper::Announce;
pub use lifecycle::{Enforcement, Lifecycle, Notice, Stage};
pub use network::{Network, Refusal};
pub use pod::{Judge, PodError, PodRecord, Violation};
pub use pod_cgroup::{CgroupTree, PodCgroup, Qos};
pub use processes::{cgroup_ids, netns_of};
