//! The guard: its whole pipeline, with a real token, a credential from a file, and a dozen rules.

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use guard_identity::{AuthError, PodIdentity, UpstreamError, UpstreamToken, Workload, WorkloadId};
use guard_policy::Engine;
use guard_proxy::{Access, Drain, GateProof, GateService, Limits, Observer, Proxy, ProxyConfig, Timeouts, Upstream};
use guard_telemetry::Metrics;
use rustls::pki_types::ServerName;
use tokio::sync::watch;

use crate::{
    party::Party,
    servers::{Certified, NAME},
    token,
};

/// The guard before the server at `to`, and the token that its one workload sends.
pub(crate) fn guard(tls: &Certified, to: SocketAddr, limits: Limits) -> (Party, String) {
    let workload = Arc::new(workload());
    let (verifier, token) = token::verifier_and_token(&workload);
    let kubelet = kubelet_directory(&workload);
    let (_, addresses) = watch::channel(vec![to]);
    let config = ProxyConfig {
        upstream: Upstream {
            addresses,
            server_name: ServerName::try_from(NAME).unwrap(),
            roots: Arc::new(ArcSwap::new(Arc::clone(&tls.roots))),
            access: Access::default(),
        },
        serving: Arc::clone(&tls.server.cert_resolver),
        verifier: Arc::new(verifier),
        policies: Arc::new(ArcSwap::from_pointee(Engine::from_yaml(&policies(), "policies.yaml").unwrap())),
        observer: Arc::new(Nobody),
        gate: Arc::new(Nobody),
        metrics: Arc::new(Metrics::new().unwrap()),
        limits,
        timeouts: Timeouts::default(),
    };
    let party = Party::start("guard", move || {
        let proxy = Proxy::new(config).unwrap();
        let credentials = Arc::new(UpstreamToken::new(kubelet.path(), &workload.pod.uid));
        let handle = proxy.handle(workload, credentials);
        // Neither ends before the process does.
        let (drain, signal) = Drain::new();
        let held = Arc::new((drain, kubelet));
        move |tcp| {
            let (proxy, handle, signal, held) =
                (Arc::clone(&proxy), Arc::clone(&handle), signal.clone(), Arc::clone(&held));
            async move {
                proxy.serve(tcp, handle, signal).await;
                drop(held);
            }
        }
    });
    (party, token)
}

fn workload() -> Workload {
    let pod = PodIdentity {
        namespace: "agents".into(),
        name: "bot-0".into(),
        uid: "4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11".parse().unwrap(),
        service_account: "bot".into(),
        node: "node-1".into(),
    };
    Workload { id: WorkloadId(1), pod, class: "chatgpt".parse().unwrap(), labels: BTreeMap::new() }
}

/// The kubelet's root directory with this pod's upstream token.
fn kubelet_directory(workload: &Workload) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let volume =
        format!("pods/{}/volumes/kubernetes.io~projected/{}", workload.pod.uid, guard_identity::UPSTREAM_VOLUME);
    let volume = root.path().join(volume);
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("token"), "a".repeat(1000)).unwrap();
    root
}

fn policies() -> String {
    let mut text =
        "apiVersion: egressguard.io/v1alpha1\nkind: GuardPolicy\nmetadata: {name: bench}\nspec:\n  rules:\n".to_owned();
    for n in 0..12 {
        writeln!(
            text,
            "    - {{name: rule-{n}, action: Deny, match: {{verbs: [delete, create], resources: [things{n}.example.test], names: ['prod-*']}}}}"
        )
        .unwrap();
    }
    text
}

struct Nobody;

impl Observer for Nobody {
    fn tls_refused(&self, _: &Workload, _: &str) {}
    fn authentication_failed(&self, _: &Workload, _: &AuthError) {}
    fn credentials_unavailable(&self, _: &Workload, _: &UpstreamError) {}
}

#[async_trait]
impl GateService for Nobody {
    async fn prove(&self, _: &Workload) -> Result<GateProof, String> {
        Err("no gate asks here".into())
    }
}
