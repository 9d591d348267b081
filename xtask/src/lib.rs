//! Everything that a developer runs in this repository. The binary is `cargo xtask`; the end-to-end tests use [`cluster`].
#![forbid(unsafe_code)]

pub mod areas;
pub mod build;
pub mod cgroup;
pub mod cluster;
pub mod counts;
pub mod fuzz;
pub mod golang;
pub mod hash;
pub mod images;
pub mod kernels;
pub mod lock;
pub mod mounts;
pub mod netns;
pub mod oracle;
pub mod paths;
pub mod process;
pub mod progress;
pub mod prometheus;
pub mod run;
pub mod setup;
pub mod sysctl;
pub mod tools;
pub mod wait;
