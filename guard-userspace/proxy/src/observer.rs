//! What a person should know about a pod, beyond its log lines: it becomes events on the pod.

use guard_identity::{AuthError, UpstreamError, Workload};

/// In place of a TLS alert: the client closed after the handshake without a word, as node does with a certificate that it doesn't trust.
pub const CLOSED_WITHOUT_REQUEST: &str = "closed_without_request";

/// Told of what is wrong with a pod's set-up. Called from the request path: returns at once, and bounds what it keeps.
pub trait Observer: Send + Sync {
    /// A client refused our certificate. `alert` is the TLS alert's name as in RFC 8446 (`unknown_ca`), or [`CLOSED_WITHOUT_REQUEST`].
    fn tls_refused(&self, workload: &Workload, alert: &str);

    /// A request came without a token that proves the pod.
    fn authentication_failed(&self, workload: &Workload, error: &AuthError);

    /// The pod's upstream token can't be had, so its requests fail.
    fn credentials_unavailable(&self, workload: &Workload, error: &UpstreamError);
}
