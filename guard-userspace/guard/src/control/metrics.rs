//! What `guard control` counts.

use anyhow::{Context, Result};
use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Every metric of `guard control`.
pub(super) struct ControlMetrics {
    registry: Registry,
    /// `guard_control_leader`: 1 on the replica that leads.
    pub(super) leader: IntGauge,
    /// `guard_signing_requests_total{result}`: `signed`, `denied`.
    pub(super) signing_requests_total: IntCounterVec,
    /// `guard_authority_expiry_timestamp_seconds`: until when the authority that signs is valid.
    pub(super) authority_expiry: IntGauge,
    /// `guard_nodes{state}`: `ready`, `waiting`, `stale`, by what their guards say of themselves.
    pub(super) nodes: IntGaugeVec,
    /// `guard_nodes_unguarded`: nodes with agent pods, and no guard that is alive.
    pub(super) nodes_unguarded: IntGauge,
    /// `guard_admission_reviews_total{decision}`: `allowed`, `refused`, `malformed`, `failed`.
    pub(super) admission_reviews_total: IntCounterVec,
}

impl ControlMetrics {
    pub(super) fn new() -> Result<Self> {
        let registry = Registry::new();
        let gauge = |name, help| register(&registry, name, IntGauge::new(name, help));
        let counters =
            |name, help, label| register(&registry, name, IntCounterVec::new(Opts::new(name, help), &[label]));
        let metrics = Self {
            leader: gauge("guard_control_leader", "1 on the replica of guard control that leads")?,
            signing_requests_total: counters("guard_signing_requests_total", "Signing requests of nodes", "result")?,
            authority_expiry: gauge(
                "guard_authority_expiry_timestamp_seconds",
                "Until when the authority that signs nodes' certificates is valid",
            )?,
            nodes: register(
                &registry,
                "guard_nodes",
                IntGaugeVec::new(Opts::new("guard_nodes", "Nodes with a guard, by state"), &["state"]),
            )?,
            nodes_unguarded: gauge("guard_nodes_unguarded", "Nodes with agent pods and no guard that is alive")?,
            admission_reviews_total: counters(
                "guard_admission_reviews_total",
                "Pods reviewed by the webhook",
                "decision",
            )?,
            registry,
        };
        guard_telemetry::version(&metrics.registry, env!("CARGO_PKG_VERSION"))?;
        for result in ["signed", "denied"] {
            metrics.signing_requests_total.with_label_values(&[result]);
        }
        for decision in ["allowed", "refused", "malformed", "failed"] {
            metrics.admission_reviews_total.with_label_values(&[decision]);
        }
        metrics.forget_nodes();
        Ok(metrics)
    }

    /// Who does not lead counts no nodes: what it knew grows old, and another counts them now.
    pub(super) fn forget_nodes(&self) {
        self.nodes_unguarded.set(0);
        for state in ["ready", "waiting", "stale"] {
            self.nodes.with_label_values(&[state]).set(0);
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    name: &str,
    collector: Result<C, prometheus::Error>,
) -> Result<C> {
    let collector = collector.with_context(|| format!("making the metric {name}"))?;
    registry.register(Box::new(collector.clone())).with_context(|| format!("registering the metric {name}"))?;
    Ok(collector)
}
