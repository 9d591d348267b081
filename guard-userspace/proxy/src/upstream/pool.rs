//! The connections of one workload to the API server.
//!
//! hyper-util's pool keeps one HTTP/2 connection per server and lets requests queue behind the server's limit of
//! streams: 300 watches would hang at the hundredth. This one opens as many connections as the streams need.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use guard_telemetry::Metrics;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    DialError, Dialer, Lease, SendError,
    dial::{Dialed, Offer},
};
use crate::{
    body::RequestBody,
    config::{Limits, Timeouts},
};

pub(super) type Http2Sender = http2::SendRequest<RequestBody>;
pub(super) type Http1Sender = http1::SendRequest<RequestBody>;

/// Receive window of one stream, in bytes: 1 GB/s at 1 ms of round trip.
const STREAM_WINDOW: u32 = 1 << 20;
/// Receive window of one connection: what a client that reads nothing makes the guard hold, at most.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Largest frame taken: a header for each TLS record would cost more.
const FRAME_SIZE: u32 = 256 << 10;

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
    pub(crate) fn new(dialer: Arc<Dialer>, metrics: Arc<Metrics>, limits: Limits, timeouts: Timeouts) -> Self {
        Self(Arc::new(Shared { dialer, metrics, limits, timeouts, state: Mutex::default(), changed: Notify::new() }))
    }

    pub(crate) fn dialer(&self) -> &Arc<Dialer> {
        &self.0.dialer
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
                    timeout_at(deadline, changed).await.map_err(|_| SendError::NoFreeStream)?;
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
        let places = self.limits.upstream_connections.saturating_sub(state.open + state.dialling);
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

    async fn dial(self: &Arc<Self>, _place: Place<'_>) -> Result<Acquired, Arc<DialError>> {
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
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(FRAME_SIZE)
                .max_header_list_size(self.limits.header_bytes)
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
        tokio::spawn(async move {
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
        tokio::spawn(async move {
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
