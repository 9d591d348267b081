//! What the tests of all areas stand on: a cluster with a guard on each node, pods, and ways to look into both.
//!
//! Failures panic with what was tried and what was seen: a test has nobody to hand an error to.

mod arena;
mod audit;
mod counters;
mod echo;
mod guard;
mod installed;
mod installed_guard;
mod kubectl;
mod memory;
mod names;
mod node;
mod pair;
mod plan;
mod pod;
mod sameness;
mod siege;
mod statistics;
mod storm;
mod wait;
mod world;

pub use arena::{Arena, Ring};
pub use audit::{AuditEvent, AuditLog};
pub use counters::{Counters, Refused};
pub use echo::Echo;
pub use guard::{Certificate, Guard, GuardFiles, Metrics};
pub use installed::{Installed, RELEASE, Traces, rendered};
pub use installed_guard::{Held, InstalledGuard};
pub use kubectl::{Answer, Kubectl, Running, run};
pub use names::unique;
pub use node::NodeNetns;
pub use pair::Pair;
pub use plan::{Agent, PodPlan};
pub use pod::{Pod, finding};
pub use sameness::{assert_same, differences};
pub use siege::{Outcome, Siege};
pub use statistics::Statistics;
pub use storm::{Seen, Storm, Witnesses};
pub use wait::{SOON, eventually};
pub use world::{NO_DELETION, World};
