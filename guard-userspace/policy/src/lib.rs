//! What an agent may do: policies compiled to an engine, and the engine's decisions.
//!
//! A deny list for now: what no rule denies is allowed. A field that this engine cannot enforce makes the policy an error; it is
//! never ignored.

#![forbid(unsafe_code)]

mod compile;
mod decision;
mod engine;
mod error;
mod pattern;
mod rule;
mod yaml;

pub use decision::{Action, Decision};
pub use engine::Engine;
pub use error::PolicyError;
