//! Where each HTTP/1.1 request of a connection begins and ends, read so that nobody can read it otherwise.
//!
//! [`Requests`] takes a client's bytes in any pieces and lets those of well-formed requests pass, unchanged. It reads RFC 9112
//! without its allowances for old senders (a bare LF, folded lines, several lengths that agree): two readers that make different use of
//! them see two different requests, and that is what request smuggling lives on. What Kubernetes' clients send needs none of them.
//! What passes, Go's `net/http` takes for the same request; a test asks it.

#![forbid(unsafe_code)]

mod body;
mod characters;
mod fields;
mod head;
mod malformed;
mod requests;

pub use characters::{is_host, is_path, is_plain_value};
pub use fields::is_single;
pub use malformed::Malformed;
pub use requests::{Limits, Requests};

/// Longest request target that passes, in bytes. HTTP libraries give up at the same length.
pub const MAX_TARGET_LEN: usize = 65_534;
