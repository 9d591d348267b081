//! The record of one exchange: a log line and the counts, when it is over, however it ends.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use guard_identity::Workload;
use guard_kube_request::RequestInfo;
use guard_telemetry::{Metrics, code_label, verb_label};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use uuid::Uuid;

use crate::{connection::Active, quota::Place, upgrade::Account};

/// Longest `User-Agent` and path that go into the log, in characters.
const MAX_LOGGED: usize = 128;

/// Longest name of an object, in characters (RFC 1123, as Kubernetes reads it); methods and all else are shorter.
const MAX_NAME: usize = 253;

/// One exchange under way. Dropped at its end: that writes the line.
pub(crate) struct Exchange {
    workload: Arc<Workload>,
    metrics: Arc<Metrics>,
    started: Instant,
    audit_id: Uuid,
    method: Method,
    user_agent: String,
    traffic: Arc<Traffic>,
    pub(crate) user: String,
    pub(crate) request: Option<RequestInfo>,
    pub(crate) verdict: Verdict,
    pub(crate) status: Option<StatusCode>,
    pub(crate) outcome: Outcome,
    /// What passed on an upgraded connection.
    pub(crate) streams: Option<Box<Account>>,
    /// The workload's place for it, free when it is over.
    pub(crate) place: Option<Place>,
    /// Its place at the API server, if it takes one.
    pub(crate) seat: Option<OwnedSemaphorePermit>,
    /// Its mark on the connection.
    _active: Active,
}

/// What was decided and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) decision: Decided,
    pub(crate) policy: Option<String>,
    pub(crate) rule: Option<String>,
}

/// What became of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Decided {
    /// Turned away before a policy saw it: no identity, no description, over a limit.
    #[default]
    Refused,
    /// Forwarded.
    Allow,
    /// A policy said no.
    Deny,
    /// The guard answered it: the gate's question.
    Answered,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client went away, or its connection was cut, before the answer was complete.
    #[default]
    ClientGone,
    /// The whole answer went out.
    Complete,
    /// The API server, or the connection to it, broke off. The client saw a reset.
    UpstreamBroken,
    /// The guard ended it, to be replaced.
    Drained,
    /// An upgraded stream of which the client sent what can't be understood.
    ClientFault,
    /// The same of the API server.
    UpstreamFault,
}

/// Bytes of the bodies, or of an upgraded stream, counted while it runs.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    request: AtomicU64,
    response: AtomicU64,
}

impl Traffic {
    pub(crate) fn add_request(&self, bytes: u64) {
        self.request.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_response(&self, bytes: u64) {
        self.response.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Decided {
    fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Answered => "answered",
        }
    }
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Complete => "complete",
            Self::UpstreamBroken => "upstream_broken",
            Self::Drained => "drained",
            Self::ClientFault => "client_fault",
            Self::UpstreamFault => "upstream_fault",
        }
    }
}

impl Exchange {
    /// Begins with the request's headers.
    pub(crate) fn new(
        workload: Arc<Workload>,
        metrics: Arc<Metrics>,
        method: Method,
        headers: &HeaderMap,
        active: Active,
    ) -> Self {
        let user_agent = headers.get(header::USER_AGENT).map(|value| logged(value.as_bytes())).unwrap_or_default();
        Self {
            workload,
            metrics,
            started: Instant::now(),
            audit_id: Uuid::new_v4(),
            method,
            user_agent,
            traffic: Arc::default(),
            user: String::new(),
            request: None,
            verdict: Verdict::default(),
            status: None,
            outcome: Outcome::default(),
            streams: None,
            place: None,
            seat: None,
            _active: active,
        }
    }

    /// The value of `Audit-ID` under which the API server's audit log has this exchange too.
    pub(crate) fn audit_id(&self) -> HeaderValue {
        let mut buffer = Uuid::encode_buffer();
        HeaderValue::from_str(self.audit_id.hyphenated().encode_lower(&mut buffer))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    pub(crate) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn count(&self, status: u16, request_bytes: u64, response_bytes: u64) {
        let verb = self.request.as_ref().map_or("", |request| request.verb.as_str());
        let labels = [verb_label(verb), self.verdict.decision.as_str(), code_label(status)];
        self.metrics.exchanges_total.with_label_values(&labels).inc();
        if self.outcome == Outcome::UpstreamBroken {
            self.metrics.upstream_failures_total.with_label_values(&["broken_off"]).inc();
        }
        self.metrics.exchange_duration_seconds.observe(self.started.elapsed().as_secs_f64());
        self.metrics.bytes_total.with_label_values(&["request"]).inc_by(request_bytes);
        self.metrics.bytes_total.with_label_values(&["response"]).inc_by(response_bytes);
        if let Some(streams) = &self.streams {
            streams.count(&self.metrics);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.outcome == Outcome::ClientGone
            && self.verdict.decision == Decided::Allow
            && let Some(place) = &self.place
        {
            place.abandon();
        }
        let status = self.status.map_or(0, |status| status.as_u16());
        let request_bytes = self.traffic.request.load(Ordering::Relaxed);
        let response_bytes = self.traffic.response.load(Ordering::Relaxed);
        self.count(status, request_bytes, response_bytes);
        let pod = &self.workload.pod;
        let what = self.request.as_ref();
        let text = |field: fn(&RequestInfo) -> &String| what.map_or("", |request| name(field(request)));
        let streams = self.streams.as_deref();
        let path = what.filter(|request| !request.is_resource_request);
        tracing::info!(
            target: "guard::exchange",
            event = "exchange",
            namespace = pod.namespace,
            pod = pod.name,
            uid = pod.uid.as_str(),
            class = self.workload.class.as_str(),
            user = self.user,
            method = name(self.method.as_str()),
            verb = text(|request| &request.verb),
            group = text(|request| &request.api_group),
            version = text(|request| &request.api_version),
            resource = text(|request| &request.resource),
            subresource = text(|request| &request.subresource),
            object_namespace = text(|request| &request.namespace),
            object_name = text(|request| &request.name),
            path = path.map(|request| logged(request.path.as_bytes())).unwrap_or_default(),
            decision = self.verdict.decision.as_str(),
            policy = self.verdict.policy.as_deref().unwrap_or_default(),
            rule = self.verdict.rule.as_deref().unwrap_or_default(),
            status,
            outcome = self.outcome.as_str(),
            bytes_in = request_bytes,
            bytes_out = response_bytes,
            duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            protocol = streams.map(|streams| logged(streams.protocol().as_bytes())),
            channels = streams.map(Account::channels),
            exit = streams.and_then(Account::exit),
            fault = streams.and_then(Account::fault),
            audit_id = %self.audit_id,
            user_agent = self.user_agent,
        );
    }
}

/// What a client gave as a name, no longer than a name can be: a request target has room for 64 KiB of it, in each line.
fn name(text: &str) -> &str {
    text.char_indices().nth(MAX_NAME).map_or(text, |(end, _)| &text[..end])
}

/// What a client sent, short, printable, one line.
fn logged(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(MAX_LOGGED).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_cannot_make_a_second_line_or_a_long_one() {
        assert_eq!(logged(b"kubectl/v1\n{\"event\":1}"), "kubectl/v1?{\"event\":1}");
        assert_eq!(logged(&[0xff; 4096]).chars().count(), MAX_LOGGED);
    }

    #[test]
    fn a_name_that_no_object_can_have_is_cut_at_a_character() {
        assert_eq!(name("web"), "web");
        assert_eq!(name(&"ä".repeat(60_000)), "ä".repeat(MAX_NAME));
    }
}
