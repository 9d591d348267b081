//! The connections of one workload to the API server.
//!
//! hyper-util's pool keeps one HTTP/2 connection per server and lets requests queue behind the server's limit of
//! streams: 300 watches would hang at the hundredth. This one opens as many connections as the streams need.

mod connect;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use guard_telemetry::Metrics;
use hyper::client::conn::{http1, http2};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{DialError, Dialer, Lease, SendError};
use crate::{
    body::RequestBody,
    config::{Limits, Timeouts},
    quota::{Limit, Quota, Turns},
};

pub(super) type Http2Sender = http2::SendRequest<RequestBody>;
pub(super) type Http1Sender = http1::SendRequest<RequestBody>;

/// One workload's connections. Clones share them; they close when the last is gone and their streams have ended.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

/// What a request is sent on.
pub(super) enum Acquired {
    /// One stream of a connection.
    Http2(Http2Sender, Lease),
    /// A whole connection.
    Http1(Http1Sender),
}

pub(super) struct Shared {
    dialer: Arc<Dialer>,
    metrics: Arc<Metrics>,
    quota: Arc<Quota>,
    limits: Limits,
    timeouts: Timeouts,
    state: Mutex<State>,
    /// Something changed for those who wait: a stream is free, a connection is there, a dial failed.
    changed: Notify,
}

#[derive(Default)]
struct State {
    http2: Vec<Http2Connection>,
    idle_http1: Vec<(Http1Sender, Instant)>,
    /// Connections that exist, idle or in use.
    open: usize,
    dialling: usize,
    waiting: usize,
    next_number: u64,
    /// The server chose HTTP/1.1 last time: one request for each connection.
    speaks_http1: bool,
    /// How many dials failed, and how the last one did.
    failures: u64,
    last_failure: Option<Arc<DialError>>,
}

struct Http2Connection {
    number: u64,
    sender: Http2Sender,
    /// The server's limit of streams, as last heard.
    allowed: Arc<AtomicUsize>,
    streams: usize,
    used: Instant,
}

/// What a look at the state says.
enum Found {
    Stream(Http2Sender, u64),
    Whole(Http1Sender),
    Dial,
    /// Somebody dials: it succeeds or fails, and either is told.
    WaitForDial,
    Wait,
    Failed(Arc<DialError>),
}

impl Pool {
    pub(crate) fn new(
        dialer: Arc<Dialer>,
        metrics: Arc<Metrics>,
        quota: Arc<Quota>,
        limits: Limits,
        timeouts: Timeouts,
    ) -> Self {
        let (state, changed) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { dialer, metrics, quota, limits, timeouts, state, changed }))
    }

    pub(crate) fn dialer(&self) -> &Arc<Dialer> {
        &self.0.dialer
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.0.quota.turns
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// The use of an HTTP/1.1 connection until its response is over.
    pub(super) fn lease_whole(&self, sender: Http1Sender) -> Lease {
        Lease::whole(Arc::downgrade(&self.0), sender)
    }

    /// A free stream, on a new connection if need be. Dialling takes what it takes ([`Timeouts::connect`] for each
    /// address); waiting for others to end is bounded by [`Timeouts::stream`].
    pub(super) async fn acquire(&self) -> Result<Acquired, SendError> {
        let shared = &self.0;
        let failures_before = shared.state().failures;
        let deadline = Instant::now() + shared.timeouts.stream;
        loop {
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match shared.find(failures_before) {
                Found::Stream(sender, number) => {
                    return Ok(Acquired::Http2(sender, Lease::stream(Arc::downgrade(shared), number)));
                }
                Found::Whole(sender) => return Ok(Acquired::Http1(sender)),
                Found::Dial => return shared.dial(Place { shared, of: Of::Diallers }).await.map_err(SendError::Dial),
                Found::WaitForDial => {
                    let _place = Place { shared, of: Of::Waiters };
                    changed.await;
                }
                Found::Wait => {
                    let _place = Place { shared, of: Of::Waiters };
                    timeout_at(deadline, changed).await.map_err(|_| {
                        shared.quota.met(Limit::UpstreamStreams);
                        SendError::NoFreeStream
                    })?;
                }
                Found::Failed(error) => return Err(SendError::Dial(error)),
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, failures_before: u64) -> Found {
        let mut state = self.state();
        state.http2.retain(|connection| !connection.sender.is_closed());
        let streams = self.limits.upstream_streams;
        let free = state
            .http2
            .iter_mut()
            .find(|connection| connection.streams < streams.min(connection.allowed.load(Ordering::Relaxed)));
        if let Some(connection) = free {
            connection.streams += 1;
            connection.used = Instant::now();
            return Found::Stream(connection.sender.clone(), connection.number);
        }
        while let Some((sender, _)) = state.idle_http1.pop() {
            if sender.is_ready() {
                return Found::Whole(sender);
            }
        }
        if let Some(error) = state.last_failure.clone().filter(|_| state.failures != failures_before) {
            return Found::Failed(error);
        }
        // In HTTP/1.1 each exchange needs a connection, and exchanges have their own limit.
        let limit = if state.speaks_http1 { self.limits.exchanges } else { self.limits.upstream_connections };
        let places = limit.saturating_sub(state.open + state.dialling);
        // Those who come while a connection is being made share it, as far as it will have streams.
        let promised = if state.speaks_http1 { 0 } else { state.dialling * streams };
        if places > 0 && state.waiting >= promised {
            state.dialling += 1;
            Found::Dial
        } else {
            state.waiting += 1;
            if state.dialling > 0 { Found::WaitForDial } else { Found::Wait }
        }
    }

    fn close_unused(&self) {
        let idle = self.timeouts.upstream_idle;
        let mut state = self.state();
        state.http2.retain(|connection| connection.streams > 0 || connection.used.elapsed() < idle);
        state.idle_http1.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < idle);
    }

    pub(super) fn stream_ended(&self, number: u64) {
        let mut state = self.state();
        if let Some(connection) = state.http2.iter_mut().find(|connection| connection.number == number) {
            connection.streams = connection.streams.saturating_sub(1);
            connection.used = Instant::now();
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn give_back(self: &Arc<Self>, mut sender: Http1Sender) {
        let pool = Arc::downgrade(self);
        let wait = self.timeouts.discard;
        // The connection is ready a moment after its last response is.
        self.quota.turns.spawn(async move {
            if let (Ok(Ok(())), Some(pool)) = (tokio::time::timeout(wait, sender.ready()).await, pool.upgrade()) {
                pool.state().idle_http1.push((sender, Instant::now()));
                pool.changed.notify_one();
            }
        });
    }
}

/// One of those who dial or wait, counted until it is done.
struct Place<'a> {
    shared: &'a Shared,
    of: Of,
}

enum Of {
    Diallers,
    Waiters,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        match self.of {
            Of::Waiters => state.waiting -= 1,
            Of::Diallers => {
                state.dialling -= 1;
                drop(state);
                self.shared.changed.notify_waiters();
            }
        }
    }
}
