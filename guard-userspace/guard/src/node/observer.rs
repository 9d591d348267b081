//! What lifecycle and proxy have to say about a pod, as events with advice.

use guard_identity::{AuthError, PodIdentity, UpstreamError, Workload};
use guard_proxy::{CLOSED_WITHOUT_REQUEST, Observer};
use guard_workload::{Announce, Notice};

use super::events::{Events, Note};

impl Announce for Events {
    fn announce(&self, pod: &PodIdentity, notice: &Notice) {
        let note = if notice.is_warning() { Note::warning } else { Note::normal };
        self.note(pod, note(notice.reason(), notice.message()));
    }
}

impl Observer for Events {
    fn tls_refused(&self, workload: &Workload, alert: &str) {
        self.note(
            &workload.pod,
            Note::warning(
                "ClientRefusesGuard",
                format!(
                    "{} Let it trust /var/run/secrets/kubernetes.io/serviceaccount/ca.crt, which holds the guard's CA; it must not pin the \
                     cluster's CA, nor bring a kubeconfig or CA bundle of its own in the image.",
                    refusal(alert)
                ),
            ),
        );
    }

    fn authentication_failed(&self, workload: &Workload, error: &AuthError) {
        self.note(
            &workload.pod,
            Note::warning("AgentNotAuthenticated", format!("A request was refused: {error}. {}", error.advice())),
        );
    }

    fn credentials_unavailable(&self, workload: &Workload, error: &UpstreamError) {
        self.note(
            &workload.pod,
            Note::warning(
                "AgentCredentialsUnavailable",
                format!(
                    "Requests of this pod fail: the guard can't read the pod's token for the API server: {error}. The pod needs the projected \
                     volume egress-guard-upstream; recreate it so that admission adds it, and check the guard's --kubelet-root."
                ),
            ),
        );
    }
}

fn refusal(alert: &str) -> String {
    if alert == CLOSED_WITHOUT_REQUEST {
        return "A client in this pod closed its connection right after the TLS handshake, as some do with a certificate that they don't trust. \
                If it fails there:"
            .to_owned();
    }
    format!("A client in this pod refused the guard's certificate (TLS alert {alert}).")
}
