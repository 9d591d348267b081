//! The connections to the API server.

mod dial;
mod forward_proxy;
mod lease;
mod pool;
mod sender;

use std::sync::Arc;

pub(crate) use dial::{DialError, Dialer};
pub(crate) use lease::Lease;
pub(crate) use pool::Pool;
pub(crate) use sender::{connect_for_upgrade, send};
use thiserror::Error;

/// Why a request got no answer from the API server.
#[derive(Clone, Debug, Error)]
pub(crate) enum SendError {
    /// There is no connection. Nothing was sent.
    #[error("{0}")]
    Dial(Arc<DialError>),
    /// Every connection that the workload may have is full. Nothing was sent.
    #[error("no free stream to the API server")]
    NoFreeStream,
    /// The API server says that it did not process the request (RFC 9113, 6.8 and 8.7), whose body is gone: only the
    /// client can send it again.
    #[error("the API server closed the connection without processing the request: {0}; send it again")]
    Unprocessed(String),
    /// It switched to a protocol that was not asked for, or did so unasked.
    #[error("the API server answered with a switch of protocols that was not asked for: {0}")]
    Switch(String),
    /// It may have been processed. Never sent again from here.
    #[error(
        "the connection to the API server broke before it answered; the request may or may not have been carried out: {0}"
    )]
    Broken(String),
}

impl SendError {
    /// Every label, and `credentials`: there was nothing to show to the API server; `broken_off`: the answer had no end.
    pub(crate) const REASONS: [&str; 11] = [
        "no_address",
        "connect",
        "tls",
        "http",
        "configuration",
        "limit",
        "unprocessed",
        "switch",
        "broken",
        "credentials",
        "broken_off",
    ];

    /// A label of a bounded set.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Dial(error) => error.reason(),
            Self::NoFreeStream => "limit",
            Self::Unprocessed(_) => "unprocessed",
            Self::Switch(_) => "switch",
            Self::Broken(_) => "broken",
        }
    }
}
