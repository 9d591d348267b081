//! What the proxy counts is there from the start, at zero: a series that begins with its first failure shows nobody the increase.

use guard_http1::Malformed;
use guard_identity::AuthError;
use guard_kube_streams::{Fault, Kind};
use guard_telemetry::Metrics;

use crate::{quota::Limit, tls::HandshakeFailure, upstream::SendError};

/// Begins every series with one label; of those with two, where most can never be, one.
pub(crate) fn begin(metrics: &Metrics) {
    for limit in Limit::ALL {
        metrics.limits_total.with_label_values(&[limit.name()]);
    }
    for failure in HandshakeFailure::ORDINARY {
        metrics.tls_failures_total.with_label_values(&[failure.reason()]);
    }
    for malformed in Malformed::ALL {
        metrics.malformed_requests_total.with_label_values(&[malformed.reason()]);
    }
    for error in AuthError::ALL {
        metrics.authentication_failures_total.with_label_values(&[error.reason()]);
    }
    for reason in SendError::REASONS {
        metrics.upstream_failures_total.with_label_values(&[reason]);
    }
    for (channel, direction) in Kind::LABELS.iter().flat_map(|label| [(label, "request"), (label, "response")]) {
        metrics.stream_bytes_total.with_label_values(&[channel, direction]);
    }
    metrics.stream_faults_total.with_label_values(&["client", Fault::Truncated.reason()]);
    metrics.http2_errors_total.with_label_values(&["connection", "enhance_your_calm"]);
}
