//! Whole sessions: what is told of their bytes, wherever they are cut, and what becomes of the bytes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod faults;
mod rewrite;
mod samples;
mod seen;
mod split;
