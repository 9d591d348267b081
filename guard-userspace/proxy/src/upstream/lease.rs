//! The use of a connection for one exchange.

use std::sync::Weak;

use super::pool::{Http1Sender, Shared};

/// Held until the response's body is over; then the stream, or the connection, is free again.
pub(crate) struct Lease(Kind);

enum Kind {
    /// A connection for this exchange alone, closed with it.
    Own,
    /// One stream of the HTTP/2 connection with this number.
    Stream { pool: Weak<Shared>, connection: u64 },
    /// A whole HTTP/1.1 connection. `complete` once it may be used again.
    Whole { pool: Weak<Shared>, sender: Option<Http1Sender>, complete: bool },
}

impl Lease {
    pub(crate) fn own() -> Self {
        Self(Kind::Own)
    }

    pub(super) fn stream(pool: Weak<Shared>, connection: u64) -> Self {
        Self(Kind::Stream { pool, connection })
    }

    pub(super) fn whole(pool: Weak<Shared>, sender: Http1Sender) -> Self {
        Self(Kind::Whole { pool, sender: Some(sender), complete: false })
    }

    /// The response was read to its end.
    pub(crate) fn complete(&mut self) {
        if let Kind::Whole { complete, .. } = &mut self.0 {
            *complete = true;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &mut self.0 {
            Kind::Own => {}
            Kind::Stream { pool, connection } => {
                if let Some(pool) = pool.upgrade() {
                    pool.stream_ended(*connection);
                }
            }
            Kind::Whole { pool, sender, complete } => {
                if let (Some(pool), Some(sender), true) = (pool.upgrade(), sender.take(), *complete) {
                    pool.give_back(sender);
                }
            }
        }
    }
}
