//! The metrics of a node guard, in one registry.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};
use thiserror::Error;

/// Upper bounds of `guard_exchange_duration_seconds`, in seconds. Ordinary requests lie below 1 s; watches, logs and exec
/// fill the rest.
const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0, 600.0, 3600.0];

/// A metric that could not be registered.
#[derive(Debug, Error)]
#[error("registering metric {name}: {source}; is it registered twice in one registry?")]
pub struct MetricsError {
    name: String,
    source: prometheus::Error,
}

/// Every metric of the guard. Clones share the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// `guard_agents`: agent pods under guard now.
    pub agents: IntGauge,
    /// `guard_agents_cut_off`: agent pods that are closed and not served now.
    pub agents_cut_off: IntGauge,
    /// `guard_policies_accepted`: 1 while the newest policies decide, 0 while older ones do because the newest don't compile.
    pub policies_accepted: IntGauge,
    /// `guard_bypass_attempts_total`: refusals by the kernel that a workload brought about, as they were reported. Without what the guard and its gates
    /// try on purpose, which `guard_refusals_total` has. No label: of a series that begins at 1, nobody sees the increase.
    pub bypass_attempts_total: IntCounter,
    /// `guard_connections`: accepted connections open now.
    pub connections: IntGauge,
    /// `guard_held_bytes`: bytes that agents' clients make the guard hold now.
    pub held_bytes: IntGauge,
    /// `guard_limits_total{limit}`: how often a workload met a limit. The names are those of docs/limits.md.
    pub limits_total: IntCounterVec,
    /// `guard_connections_total{result}`: `served`, `tls_failed`, `limit`, `foreign`, by the end of its accept. A foreign
    /// one comes from outside the pod: it is nothing that the workload attempted, and so none of its refusals.
    pub connections_total: IntCounterVec,
    /// `guard_exchanges_total{verb,decision,code}`. Labels by [`crate::verb_label`] and [`crate::code_label`].
    pub exchanges_total: IntCounterVec,
    /// `guard_exchange_duration_seconds`: from the request's headers to the end of its response's body.
    pub exchange_duration_seconds: Histogram,
    /// `guard_bytes_total{direction}`: bytes of bodies and upgraded streams; `request` is towards the API server.
    pub bytes_total: IntCounterVec,
    /// `guard_stream_bytes_total{channel,direction}`: payload of upgraded streams; channels by `guard_kube_streams::Kind::label`.
    pub stream_bytes_total: IntCounterVec,
    /// `guard_stream_faults_total{side,reason}`: upgraded streams that were ended because what the `client` or the `server` sent could not
    /// be understood; reasons by `guard_kube_streams::Fault::reason`.
    pub stream_faults_total: IntCounterVec,
    /// `guard_refusals_total{hook,reason}`: what the kernel refused.
    pub refusals_total: IntCounterVec,
    /// `guard_reports_lost_total`: refusals that were counted but whose report found the ring buffer full.
    pub reports_lost_total: IntCounter,
    /// `guard_authentication_failures_total{reason}`: requests without a token that proves the calling pod.
    pub authentication_failures_total: IntCounterVec,
    /// `guard_tls_failures_total{reason}`: handshakes with clients that failed; the alert's name, `eof`, `timeout`, `protocol`.
    pub tls_failures_total: IntCounterVec,
    /// `guard_malformed_requests_total{reason}`: requests that two readers could read differently; the words of `guard-http1`.
    pub malformed_requests_total: IntCounterVec,
    /// `guard_http2_errors_total{scope,code}`: what an HTTP/2 client did against the protocol, as it was told: `stream` (`RST_STREAM`) or
    /// `connection` (`GOAWAY`), and the names of RFC 9113, 7.
    pub http2_errors_total: IntCounterVec,
    /// `guard_certificate_start_timestamp_seconds`: since when the certificate shown to agents is valid; 0 without one.
    pub certificate_start: IntGauge,
    /// `guard_certificate_expiry_timestamp_seconds`: until when the certificate shown to agents is valid; 0 without one.
    pub certificate_expiry: IntGauge,
    /// `guard_upstream_connections`: connections to the API server open now.
    pub upstream_connections: IntGauge,
    /// `guard_upstream_failures_total{reason}`: `connect`, `tls`, `broken`, `unprocessed`, `credentials`, `limit` and the like.
    pub upstream_failures_total: IntCounterVec,
}

impl Metrics {
    /// A fresh registry with every metric in it, at zero.
    ///
    /// # Errors
    /// If two metrics bear one name: a defect of this file.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| register(&registry, name, IntGauge::new(name, help));
        let counter = |name: &str, help: &str| register(&registry, name, IntCounter::new(name, help));
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, name, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let metrics = Self {
            agents: gauge("guard_agents", "Agent pods under guard now")?,
            agents_cut_off: gauge("guard_agents_cut_off", "Agent pods that are closed and not served now")?,
            policies_accepted: gauge(
                "guard_policies_accepted",
                "1 while the newest policies decide, 0 while older ones do because the newest do not compile",
            )?,
            bypass_attempts_total: counter(
                "guard_bypass_attempts_total",
                "Refusals by the kernel that a workload brought about",
            )?,
            connections: gauge("guard_connections", "Connections of agents open now")?,
            held_bytes: gauge("guard_held_bytes", "Bytes that agents make the guard hold now")?,
            limits_total: counters("guard_limits_total", "How often a workload met a limit", &["limit"])?,
            connections_total: counters("guard_connections_total", "Connections of agents", &["result"])?,
            exchanges_total: counters(
                "guard_exchanges_total",
                "Requests, by what was decided and answered",
                &["verb", "decision", "code"],
            )?,
            exchange_duration_seconds: register(
                &registry,
                "guard_exchange_duration_seconds",
                Histogram::with_opts(
                    HistogramOpts::new(
                        "guard_exchange_duration_seconds",
                        "Request headers to the end of the response body",
                    )
                    .buckets(DURATION_BUCKETS.to_vec()),
                ),
            )?,
            bytes_total: counters("guard_bytes_total", "Bytes of bodies and upgraded streams", &["direction"])?,
            stream_bytes_total: counters(
                "guard_stream_bytes_total",
                "Payload of exec, attach, port-forward and other upgraded streams",
                &["channel", "direction"],
            )?,
            stream_faults_total: counters(
                "guard_stream_faults_total",
                "Upgraded streams ended because they could not be understood",
                &["side", "reason"],
            )?,
            refusals_total: counters("guard_refusals_total", "What the kernel refused", &["hook", "reason"])?,
            reports_lost_total: counter(
                "guard_reports_lost_total",
                "Refusals counted whose report found the ring buffer full",
            )?,
            authentication_failures_total: counters(
                "guard_authentication_failures_total",
                "Requests without a token that proves the calling pod",
                &["reason"],
            )?,
            tls_failures_total: counters("guard_tls_failures_total", "Failed handshakes with clients", &["reason"])?,
            malformed_requests_total: counters(
                "guard_malformed_requests_total",
                "Requests refused because two readers could read them differently",
                &["reason"],
            )?,
            http2_errors_total: counters(
                "guard_http2_errors_total",
                "Violations of HTTP/2 by clients, as they were told",
                &["scope", "code"],
            )?,
            certificate_start: gauge(
                "guard_certificate_start_timestamp_seconds",
                "Since when the certificate shown to agents is valid; 0 without one",
            )?,
            certificate_expiry: gauge(
                "guard_certificate_expiry_timestamp_seconds",
                "Until when the certificate shown to agents is valid; 0 without one",
            )?,
            upstream_connections: gauge("guard_upstream_connections", "Connections to the API server open now")?,
            upstream_failures_total: counters(
                "guard_upstream_failures_total",
                "Requests that the API server could not be asked",
                &["reason"],
            )?,
            registry,
        };
        metrics.policies_accepted.set(1);
        metrics.begin();
        version(&metrics.registry, env!("CARGO_PKG_VERSION"))?;
        Ok(metrics)
    }

    /// Series that are there from the start. Those with labels of other crates are theirs to begin.
    fn begin(&self) {
        for labels in [["get", "allow", "200"], ["get", "deny", "403"], ["get", "refused", "401"]] {
            self.exchanges_total.with_label_values(&labels);
        }
        for direction in ["request", "response"] {
            self.bytes_total.with_label_values(&[direction]);
        }
        for result in ["served", "tls_failed", "limit", "foreign"] {
            self.connections_total.with_label_values(&[result]);
        }
    }

    /// The registry, to serve it or to add to it.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// `guard_build_info{version}`: always 1; which version runs where.
///
/// # Errors
/// If the registry has it already.
pub fn version(registry: &Registry, version: &str) -> Result<(), MetricsError> {
    let name = "guard_build_info";
    let info = IntGaugeVec::new(Opts::new(name, "Always 1; the version of the guard that runs"), &["version"]);
    register(registry, name, info)?.with_label_values(&[version]).set(1);
    Ok(())
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    name: &str,
    collector: Result<C, prometheus::Error>,
) -> Result<C, MetricsError> {
    let named = |source| MetricsError { name: name.to_owned(), source };
    let collector = collector.map_err(named)?;
    registry.register(Box::new(collector.clone())).map_err(named)?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_the_prefix_and_no_pod_in_its_labels() {
        let metrics = Metrics::new().unwrap();
        metrics.connections_total.with_label_values(&["served"]).inc();
        metrics.exchanges_total.with_label_values(&["get", "allow", "200"]).inc();
        metrics.refusals_total.with_label_values(&["connect4", "port"]).inc();
        let families = metrics.registry().gather();
        assert!(families.len() >= 8, "only {} families", families.len());
        for family in families {
            assert!(family.name().starts_with("guard_"), "{}", family.name());
            for metric in family.get_metric() {
                for label in metric.get_label() {
                    assert!(!["pod", "namespace", "uid", "user"].contains(&label.name()), "{}", label.name());
                }
            }
        }
    }

    #[test]
    fn two_sets_of_metrics_live_side_by_side() {
        let (one, other) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        one.agents.set(3);
        assert_eq!(other.agents.get(), 0);
    }
}
