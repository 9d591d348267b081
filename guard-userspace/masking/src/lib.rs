//! Hides secrets in what the API server answers: detectors, a streaming scanner, a tokeniser per format. Pure: bytes in, bytes out.
//!
//! [`Masker`] takes a stream in pieces, cut anywhere. What it gives out is the same for every cut. Bytes leave as soon as nothing
//! that follows could make them a finding; a candidate is held until its end, at most for a limit, beyond which it is hidden.
//! docs/masking.md describes detectors, placeholders and limits.

#![forbid(unsafe_code)]

mod catalogue;
mod encoded;
mod engine;
mod held;
mod json;
mod keys;
mod masker;
mod placeholder;
mod policy;
mod report;
mod scan;
mod shape;
mod text;
mod value;
mod values;
mod yaml;

pub use catalogue::{Detector, detectors};
pub use engine::Engine;
pub use json::Fault;
pub use masker::{Format, Masker, UnknownFormat};
pub use placeholder::ScopeKey;
pub use policy::{Policy, PolicyError};
pub use report::{Finding, Report};
