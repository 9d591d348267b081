//! New connections of the pool, and their life.

use std::{
    future::poll_fn,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use guard_telemetry::Metrics;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::{Acquired, Http2Connection, Http2Sender, Place, Shared};
use crate::upstream::{
    DialError, Lease,
    dial::{Dialed, Offer},
};

/// Receive window of one stream, in bytes: 250 MB/s at 1 ms of round trip.
const STREAM_WINDOW: u32 = 256 << 10;
/// Receive window of one connection: what clients that read nothing make the guard hold, at most. Until so many streams have stopped
/// that it is full, the others go on.
const CONNECTION_WINDOW: u32 = 6 << 20;
/// Bytes of one request's body that wait for an API server that does not read it.
const SEND_BUFFER: usize = 256 << 10;
/// Largest frame taken: a header for each TLS record would cost more. It is held as a whole while any of it waits for a client.
const FRAME_SIZE: u32 = 64 << 10;

impl Shared {
    pub(super) async fn dial(self: &Arc<Self>, _place: Place<'_>) -> Result<Acquired, Arc<DialError>> {
        let result = async { self.begin_http(self.dialer.dial(Offer::Any).await?).await }.await;
        result.map_err(|error| {
            let error = Arc::new(error);
            let mut state = self.state();
            state.failures += 1;
            state.last_failure = Some(Arc::clone(&error));
            error
        })
    }

    async fn begin_http(self: &Arc<Self>, dialed: Dialed) -> Result<Acquired, DialError> {
        let http2 = dialed.is_http2();
        let Dialed { stream, address } = dialed;
        let io = TokioIo::new(stream);
        let failed = |source| DialError::Http { address, source };
        let ping = self.timeouts.ping;
        if http2 {
            let (sender, connection) = http2::Builder::new(self.quota.turns.clone())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(FRAME_SIZE)
                .max_header_list_size(self.limits.header_bytes)
                .max_send_buf_size(SEND_BUFFER)
                .keep_alive_interval(ping)
                .keep_alive_timeout(ping)
                .keep_alive_while_idle(true)
                .handshake(io)
                .await
                .map_err(failed)?;
            let allowed = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
            let number = self.enter(&sender, Arc::clone(&allowed));
            let mut connection = Box::pin(connection);
            self.drive(poll_fn(move |cx| {
                let polled = connection.as_mut().poll(cx);
                allowed.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            }));
            Ok(Acquired::Http2(sender, Lease::stream(Arc::downgrade(self), number)))
        } else {
            let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(failed)?;
            self.state().speaks_http1 = true;
            self.drive(connection);
            Ok(Acquired::Http1(sender))
        }
    }

    /// Puts a connection among the others, with one stream in use.
    fn enter(&self, sender: &Http2Sender, allowed: Arc<AtomicUsize>) -> u64 {
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        state.speaks_http1 = false;
        let sender = sender.clone();
        state.http2.push(Http2Connection { number, sender, allowed, streams: 1, used: Instant::now() });
        number
    }

    /// Runs a connection until it ends, and looks now and then for those that nobody uses.
    fn drive(self: &Arc<Self>, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let pool = Arc::downgrade(self);
        let open = Open::new(self);
        let idle = self.timeouts.upstream_idle;
        self.quota.turns.spawn(async move {
            tokio::pin!(connection);
            let mut look = tokio::time::interval(idle.max(Duration::from_millis(20)) / 2);
            let ended = loop {
                tokio::select! {
                    ended = &mut connection => break ended,
                    _ = look.tick() => {
                        if let Some(pool) = pool.upgrade() {
                            pool.close_unused();
                        }
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to the API server ended");
            }
            drop(open);
        });
    }
}

/// A connection that exists, counted until it ends.
struct Open {
    shared: Weak<Shared>,
    metrics: Arc<Metrics>,
}

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.state().open += 1;
        shared.metrics.upstream_connections.inc();
        Self { shared: Arc::downgrade(shared), metrics: Arc::clone(&shared.metrics) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.upstream_connections.dec();
        if let Some(shared) = self.shared.upgrade() {
            shared.state().open -= 1;
            shared.changed.notify_waiters();
        }
    }
}
