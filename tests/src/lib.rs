//! End to end: a real API server, a real kernel, real clients. The areas of tests are in `tests/tests`; what they share is here.
//!
//! The one crate beside `guard-kernel` with `unsafe` code: the probe makes system calls that only an attacker has a use for.

pub mod demo;
pub mod finding;
pub mod harness;
pub mod probe;
