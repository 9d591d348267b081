//! The certificate that the guard shows to agents.
//!
//! A node gets its leaf as files and follows their renewal: [`Serving`]. `guard run`, the demo and the tests have an authority of
//! their own, in memory: [`Authority`].

#![forbid(unsafe_code)]

mod authority;
mod leaf;
mod serving;

pub use authority::{Authority, AuthorityError, Leaf, SanName};
pub use serving::{Reload, Serving, ServingError};
