//! End to end: a real API server, a real kernel, real clients.

pub mod finding;
pub mod probe;
