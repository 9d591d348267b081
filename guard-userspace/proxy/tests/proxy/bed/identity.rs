//! Identities for the bed: one token that is good, a credential that can be renewed, and what observers were told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use guard_identity::{AuthError, Caller, PodIdentity, UpstreamError, Workload, WorkloadId};
use guard_proxy::{Authenticate, GateProof, GateService, Observer, UpstreamCredentials};
use http::HeaderValue;

/// The token of the bed's pod.
pub(crate) const AGENT_TOKEN: &str = "the-agents-token";

pub(crate) fn workload(name: &str) -> Arc<Workload> {
    let pod = PodIdentity {
        namespace: "agents".into(),
        name: name.into(),
        uid: "4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11".parse().unwrap(),
        service_account: "bot".into(),
        node: "node-1".into(),
    };
    let class = "chatgpt".parse().unwrap();
    Arc::new(Workload { id: WorkloadId(7), pod, class, labels: BTreeMap::new() })
}

/// Accepts [`AGENT_TOKEN`] alone.
pub(crate) struct Verifier;

#[async_trait]
impl Authenticate for Verifier {
    async fn authenticate(&self, _: &Workload, bearer: Option<&str>) -> Result<Caller, AuthError> {
        match bearer {
            Some(AGENT_TOKEN) => Ok(Caller::service_account("agents", "bot", "sa-uid")),
            Some("expired") => Err(AuthError::Expired),
            Some(_) => Err(AuthError::OtherPod),
            None => Err(AuthError::Missing),
        }
    }
}

/// `Bearer upstream-N`, where N grows with each invalidation.
#[derive(Default)]
pub(crate) struct Credentials {
    pub(crate) generation: AtomicUsize,
    /// Whether there is none.
    pub(crate) gone: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl UpstreamCredentials for Credentials {
    async fn authorization(&self) -> Result<Option<HeaderValue>, UpstreamError> {
        if self.gone.load(Ordering::SeqCst) {
            return Err(UpstreamError::NoToken { path: "/gone".into(), why: "it is empty" });
        }
        let value = format!("Bearer upstream-{}", self.generation.load(Ordering::SeqCst));
        let mut value = HeaderValue::try_from(value).unwrap();
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

/// What the observer was told, a line each; also the gate's answerer.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    pub(crate) fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Observer for Recorder {
    fn tls_refused(&self, workload: &Workload, alert: &str) {
        self.note(format!("tls {} {alert}", workload.pod));
    }

    fn authentication_failed(&self, workload: &Workload, error: &AuthError) {
        self.note(format!("auth {} {}", workload.pod, error.reason()));
    }

    fn credentials_unavailable(&self, workload: &Workload, _: &UpstreamError) {
        self.note(format!("credentials {}", workload.pod));
    }
}

#[async_trait]
impl GateService for Recorder {
    async fn prove(&self, workload: &Workload) -> Result<GateProof, String> {
        Ok(GateProof {
            namespace: workload.pod.namespace.clone(),
            pod: workload.pod.name.clone(),
            uid: workload.pod.uid.to_string(),
            class: workload.class.to_string(),
            node: workload.pod.node.clone(),
            hooks: vec!["connect4".into()],
            packets_injected: 2,
            packets_dropped: 2,
            refused: vec![],
        })
    }
}
