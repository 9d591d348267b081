//! What one workload may hold and do, counted over all of its connections.
//!
//! Every limit that is met is counted in `guard_limits_total{limit}` and, once in a while, logged with the workload's name:
//! a workload that floods gets lines by the minute, not by the packet.

mod bucket;
mod budget;
mod turns;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use guard_identity::Workload;
use guard_telemetry::Metrics;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use self::bucket::Bucket;
pub(crate) use self::{
    budget::{Budget, Held, Passage},
    turns::Turns,
};
use crate::config::{Limits, Timeouts};

/// How often one workload's meeting of one limit is logged at most.
const LOG_PAUSE: Duration = Duration::from_mins(1);
/// Seconds' worth of a rate that may come at once.
const BURST: u32 = 4;

/// Error codes of HTTP/2 by their number (RFC 9113, 7), as labels.
const HTTP2_CODES: [&str; 14] = [
    "no_error",
    "protocol_error",
    "internal_error",
    "flow_control_error",
    "settings_timeout",
    "stream_closed",
    "frame_size_error",
    "refused_stream",
    "cancel",
    "compression_error",
    "connect_error",
    "enhance_your_calm",
    "inadequate_security",
    "http_1_1_required",
];

/// A limit that a workload has met: the label of its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// [`Limits::connections`].
    Connections,
    /// [`Limits::handshakes_per_second`], or [`Limits::handshakes`].
    Handshakes,
    /// [`Timeouts::handshake`].
    HandshakeTime,
    /// [`Limits::exchanges`].
    Exchanges,
    /// [`Limits::requests`].
    Requests,
    /// [`Limits::streams`].
    Streams,
    /// [`Limits::header_bytes`].
    HeaderBytes,
    /// [`Limits::headers`].
    Headers,
    /// [`Timeouts::head`].
    HeadTime,
    /// [`Limits::held_bytes`].
    HeldBytes,
    /// [`Limits::body_bytes`].
    BodyBytes,
    /// [`Limits::body_bytes_per_second`] after [`Timeouts::body`].
    BodyRate,
    /// [`Limits::frames_per_second`].
    Frames,
    /// [`Limits::resets_per_second`].
    Resets,
    /// [`Limits::upstream_connections`] are full for longer than [`Timeouts::stream`].
    UpstreamStreams,
}

impl Limit {
    const COUNT: usize = Self::ALL.len();

    /// All of them.
    pub(crate) const ALL: [Self; 15] = [
        Self::Connections,
        Self::Handshakes,
        Self::HandshakeTime,
        Self::Exchanges,
        Self::Requests,
        Self::Streams,
        Self::HeaderBytes,
        Self::Headers,
        Self::HeadTime,
        Self::HeldBytes,
        Self::BodyBytes,
        Self::BodyRate,
        Self::Frames,
        Self::Resets,
        Self::UpstreamStreams,
    ];

    /// The label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Handshakes => "handshakes",
            Self::HandshakeTime => "handshake_time",
            Self::Exchanges => "exchanges",
            Self::Requests => "requests",
            Self::Streams => "streams",
            Self::HeaderBytes => "header_bytes",
            Self::Headers => "headers",
            Self::HeadTime => "head_time",
            Self::HeldBytes => "held_bytes",
            Self::BodyBytes => "body_bytes",
            Self::BodyRate => "body_rate",
            Self::Frames => "frames",
            Self::Resets => "resets",
            Self::UpstreamStreams => "upstream_streams",
        }
    }
}

/// One workload's account.
pub(crate) struct Quota {
    workload: Arc<Workload>,
    metrics: Arc<Metrics>,
    connections: Arc<Semaphore>,
    exchanges: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    handshake_rate: Bucket,
    frames: Bucket,
    resets: Bucket,
    /// Requests that were forwarded, and whose client did not wait for the answer.
    abandoned: Bucket,
    /// Bytes that its clients make the guard hold.
    pub(crate) held: Budget,
    /// Its share of the processor.
    pub(crate) turns: Turns,
    told: Mutex<[Option<Told>; Limit::COUNT]>,
}

/// An exchange's place, free when dropped.
pub(crate) struct Place {
    quota: Arc<Quota>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Its client has gone without the answer.
    pub(crate) fn abandon(&self) {
        self.quota.abandoned.owe_one();
    }
}

/// When a limit was logged, and how often it was met since.
#[derive(Clone, Copy)]
struct Told {
    at: Instant,
    since: u64,
}

impl Quota {
    pub(crate) fn new(workload: Arc<Workload>, metrics: Arc<Metrics>, limits: &Limits) -> Self {
        let bucket = |rate: u32| Bucket::new(rate, rate.saturating_mul(BURST));
        Self {
            workload,
            held: Budget::new(limits.held_bytes, metrics.held_bytes.clone()),
            metrics,
            connections: Arc::new(Semaphore::new(limits.connections)),
            exchanges: Arc::new(Semaphore::new(limits.exchanges)),
            requests: Arc::new(Semaphore::new(limits.requests)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            handshake_rate: bucket(limits.handshakes_per_second),
            frames: bucket(limits.frames_per_second),
            resets: bucket(limits.resets_per_second),
            abandoned: bucket(limits.resets_per_second),
            turns: Turns::of_this_machine(),
            told: Mutex::new([None; Limit::COUNT]),
        }
    }

    /// A place for one more connection, if the workload may have it.
    pub(crate) fn admit_connection(&self) -> Option<OwnedSemaphorePermit> {
        self.one_of(&self.connections, Limit::Connections)
    }

    /// Whether another connection would be refused.
    pub(crate) fn is_full(&self) -> bool {
        self.connections.available_permits() == 0
    }

    /// A place for one more exchange, if the workload may have it. It may not while too many were abandoned: whoever goes away with
    /// what it asked for under way makes the API server work for nobody.
    pub(crate) fn admit_exchange(self: &Arc<Self>) -> Option<Place> {
        if self.abandoned.is_empty() {
            self.met(Limit::Resets);
            return None;
        }
        let permit = self.one_of(&self.exchanges, Limit::Exchanges)?;
        Some(Place { quota: Arc::clone(self), _permit: permit })
    }

    /// Waits for one of the places that the workload may take at the API server. To have to wait is counted.
    pub(crate) async fn admit_request(&self, timeouts: &Timeouts) -> Option<OwnedSemaphorePermit> {
        if let Some(place) = self.one_of(&self.requests, Limit::Requests) {
            return Some(place);
        }
        timeout(timeouts.stream, Arc::clone(&self.requests).acquire_owned()).await.ok()?.ok()
    }

    /// Waits until a handshake may begin: bursts are spread, and only what would wait for longer than a handshake may take is
    /// refused. Either is counted.
    pub(crate) async fn admit_handshake(&self, timeouts: &Timeouts) -> Option<OwnedSemaphorePermit> {
        let begun = Instant::now();
        let deadline = begun + timeouts.handshake;
        let mut waits = false;
        let mut place = Arc::clone(&self.handshakes).try_acquire_owned().ok();
        if place.is_none() {
            waits = true;
            let free = timeout_at(deadline, Arc::clone(&self.handshakes).acquire_owned()).await;
            place = free.ok().and_then(Result::ok);
        }
        let turn = place.and_then(|place| Some((place, self.handshake_rate.take_until(deadline)?)));
        if waits || turn.as_ref().is_none_or(|(_, turn)| *turn > begun) {
            self.met(Limit::Handshakes);
        }
        let (place, turn) = turn?;
        sleep_until(turn).await;
        Some(place)
    }

    /// Whether one more frame that carries nothing may come.
    pub(crate) fn admit_frame(&self) -> bool {
        self.frames.take(1)
    }

    /// Frames that a client may answer what it was sent with.
    pub(crate) fn allow_frames(&self, count: u32) {
        self.frames.give(count);
    }

    /// Whether one more request may be taken back.
    pub(crate) fn admit_reset(&self) -> bool {
        self.resets.take(1)
    }

    /// Counts a limit that was met.
    pub(crate) fn met(&self, limit: Limit) {
        self.metrics.limits_total.with_label_values(&[limit.name()]).inc();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = &mut told[limit as usize];
        let times = match told {
            Some(told) if told.at.elapsed() < LOG_PAUSE => {
                told.since += 1;
                return;
            }
            Some(told) => told.since + 1,
            None => 1,
        };
        *told = Some(Told { at: Instant::now(), since: 0 });
        tracing::warn!(workload = %self.workload, limit = limit.name(), times, "a workload has met a limit");
    }

    /// Counts what a client did against HTTP/2, by the scope and the code (RFC 9113, 7) of what it was told.
    pub(crate) fn broke_http2(&self, scope: &str, code: u32) {
        let code = usize::try_from(code).ok().and_then(|code| HTTP2_CODES.get(code)).unwrap_or(&"other");
        self.metrics.http2_errors_total.with_label_values(&[scope, code]).inc();
    }

    fn one_of(&self, places: &Arc<Semaphore>, limit: Limit) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(places).try_acquire_owned().ok();
        if place.is_none() {
            self.met(limit);
        }
        place
    }
}
