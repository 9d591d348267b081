//! The certificate that the guard shows to agents, and the authority behind it.
//!
//! A node serves its leaf ([`Serving`]), asks for it ([`KeyAndRequest`]) or has it as files ([`Files`]). `guard control` reads such a
//! [`Request`] and signs it by the cluster's [`Authorities`]. `guard run`, the demo and the tests have an [`Authority`] of their own, in memory.

#![forbid(unsafe_code)]

mod authorities;
mod authority;
mod files;
mod leaf;
mod request;
mod serving;

pub use authorities::{Authorities, Change, Lifetimes};
pub use authority::{Authority, AuthorityError, Leaf, SanName};
pub use files::{Files, FilesError, Reload};
pub use request::{KeyAndRequest, Request, RequestError};
pub use serving::{Serving, UnfitError};
