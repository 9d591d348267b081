//! The engine, from YAML to decision.

mod common;
mod decisions;
mod errors;
