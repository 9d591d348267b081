//! Signs the leaves of nodes: what a node of this cluster asks for itself, for the API server's names and no others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use guard_certificates::{Request, SanName};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::custody::Custody;
use super::lease::is_conflict;
use super::metrics::ControlMetrics;
use super::names::{SIGNER, USAGES, common_name};

/// What the API server says of a pod-bound token's owner.
const EXTRA_NODE: &str = "authentication.kubernetes.io/node-name";
const EXTRA_POD: &str = "authentication.kubernetes.io/pod-uid";

/// Longest handling of one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// From a request that could not be answered until all open ones are looked at again.
const AGAIN: Duration = Duration::from_secs(5);

/// The API server's limit is 32 KiB.
const MAX_MESSAGE: usize = 1024;

/// See the module.
pub(super) struct Signer {
    pub(super) client: Client,
    pub(super) custody: Arc<Custody>,
    /// `system:serviceaccount:NAMESPACE:NAME` of `guard node`.
    pub(super) requester: String,
    /// Whom a leaf may be for; none as long as the cluster isn't known.
    pub(super) names: watch::Receiver<BTreeSet<SanName>>,
    pub(super) metrics: Arc<ControlMetrics>,
}

/// Why a request is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Denial {
    reason: &'static str,
    message: String,
}

impl Signer {
    /// Until dropped.
    pub(super) async fn run(mut self) {
        if self.names.wait_for(|names| !names.is_empty()).await.is_err() {
            return;
        }
        let requests: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        loop {
            self.follow(&requests).await;
        }
    }

    /// Until some time after a request could not be answered: a new watch begins with all that are open, that one too.
    async fn follow(&self, requests: &Api<CertificateSigningRequest>) {
        let config = watcher::Config::default().fields(&format!("spec.signerName={SIGNER}"));
        let mut changes = std::pin::pin!(watcher(requests.clone(), config).default_backoff());
        let mut again = None;
        loop {
            let change = match again {
                None => changes.next().await,
                Some(at) => tokio::time::timeout_at(at, changes.next()).await.unwrap_or_default(),
            };
            let request = match change {
                None => return,
                Some(Ok(watcher::Event::Apply(request) | watcher::Event::InitApply(request))) => request,
                Some(Ok(_)) => continue,
                Some(Err(error)) => {
                    tracing::warn!(%error, "watching signing requests failed; the watch goes on by itself");
                    continue;
                }
            };
            if !is_open(&request) {
                continue;
            }
            let name = request.name_any();
            let answered = tokio::time::timeout(TIMEOUT, self.answer(requests, request)).await;
            let error = match answered {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => format!("no answer of the API server in {TIMEOUT:?}"),
            };
            tracing::error!(
                request = name,
                error,
                "a signing request can't be answered now; it is looked at again soon"
            );
            again.get_or_insert_with(|| Instant::now() + AGAIN);
        }
    }

    async fn answer(
        &self,
        requests: &Api<CertificateSigningRequest>,
        mut object: CertificateSigningRequest,
    ) -> Result<()> {
        let name = object.name_any();
        let judged = judge(&object, &self.requester, &self.names.borrow().clone());
        let (kind, reason, message) = match &judged {
            Ok(_) => (
                "Approved",
                "NodeOfThisCluster",
                "The guard of a node asks for itself, for the API server's names.".to_owned(),
            ),
            Err(denial) => ("Denied", denial.reason, denial.message.clone()),
        };
        let approved = conditions(&object).iter().any(|condition| condition.type_ == "Approved");
        // Somebody else may have approved it: that counts for nothing here, and both conditions can't be.
        let kind = if judged.is_err() && approved { "Failed" } else { kind };
        if kind != "Approved" || !approved {
            let status = object.status.get_or_insert_default();
            status.conditions.get_or_insert_default().push(condition(kind, reason, message.clone()));
            let replaced = if kind == "Failed" {
                requests.replace_status(&name, &PostParams::default(), &object).await
            } else {
                // With the resourceVersion that was read.
                let metadata = json!({"resourceVersion": object.metadata.resource_version});
                let patch = Patch::Merge(json!({"metadata": metadata, "status": {"conditions": conditions(&object)}}));
                requests.patch_approval(&name, &PatchParams::default(), &patch).await
            };
            object = match replaced {
                Ok(object) => object,
                // Another leader's, or a person's: the watch brings what it is now.
                Err(error) if is_conflict(&error) => return Ok(()),
                Err(error) => return Err(error).context("writing the decision"),
            };
        }
        let request = match judged {
            Ok(request) => request,
            Err(denial) => {
                self.metrics.signing_requests_total.with_label_values(&["denied"]).inc();
                tracing::warn!(
                    request = name,
                    by = object.spec.username,
                    reason = denial.reason,
                    message = denial.message,
                    "signing request denied"
                );
                return Ok(());
            }
        };
        let authorities = self.custody.current.load_full().context("there is no authority yet")?;
        let chain = authorities.sign(&request, &self.custody.lifetimes).context("signing")?;
        object.status.get_or_insert_default().certificate = Some(ByteString(chain.into_bytes()));
        requests.replace_status(&name, &PostParams::default(), &object).await.context("writing the certificate")?;
        self.metrics.signing_requests_total.with_label_values(&["signed"]).inc();
        tracing::info!(request = name, subject = request.common_name(), "signing request signed");
        Ok(())
    }
}

/// Neither answered nor refused.
fn is_open(request: &CertificateSigningRequest) -> bool {
    let answered =
        request.status.as_ref().and_then(|status| status.certificate.as_ref()).is_some_and(|c| !c.0.is_empty());
    let refused = conditions(request).iter().any(|condition| matches!(condition.type_.as_str(), "Denied" | "Failed"));
    !answered && !refused
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn condition(kind: &str, reason: &str, mut message: String) -> CertificateSigningRequestCondition {
    let end = (0..=message.len().min(MAX_MESSAGE)).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    message.truncate(end);
    CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(Timestamp::now())),
        last_transition_time: None,
    }
}

/// The API server has filled in who asks; everything in the request itself is the requester's own word.
fn judge(object: &CertificateSigningRequest, requester: &str, allowed: &BTreeSet<SanName>) -> Result<Request, Denial> {
    let denied = |reason, message| Denial { reason, message };
    let spec = &object.spec;
    let username = spec.username.as_deref().unwrap_or_default();
    if username != requester {
        return Err(denied("NotANode", format!("{username:?} asks; this signer signs for {requester} alone")));
    }
    let extra = |key: &str| match spec.extra.as_ref().and_then(|extra| extra.get(key)).map(Vec::as_slice) {
        Some([one]) if !one.is_empty() => Some(one.as_str()),
        _ => None,
    };
    let (Some(node), Some(_)) = (extra(EXTRA_NODE), extra(EXTRA_POD)) else {
        let message = "the token of the request is not bound to a pod on a node: a copy made elsewhere gets nothing";
        return Err(denied("NotBoundToANode", message.to_owned()));
    };
    let usages: BTreeSet<&str> = spec.usages.iter().flatten().map(String::as_str).collect();
    if usages != BTreeSet::from(USAGES) {
        return Err(denied("Usages", format!("a leaf has the usages {USAGES:?}, and the request asks for {usages:?}")));
    }
    let request = Request::from_pem(&spec.request.0).map_err(|error| denied("Request", error.to_string()))?;
    if request.common_name() != common_name(node) {
        let message = format!("a guard of node {node} asks in the name of {:?}", request.common_name());
        return Err(denied("OtherNode", message));
    }
    if request.names().is_empty() {
        return Err(denied("NoName", "the request names nobody that the leaf is for".to_owned()));
    }
    let foreign: Vec<_> = request.names().difference(allowed).map(ToString::to_string).collect();
    if !foreign.is_empty() {
        let message = format!("these are no names of this cluster's API server: {}", foreign.join(", "));
        return Err(denied("ForeignNames", message));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use guard_certificates::KeyAndRequest;
    use serde_json::Value;

    use super::*;

    const NODE_GUARD: &str = "system:serviceaccount:egress-guard:egress-guard-node";

    fn names(texts: &[&str]) -> BTreeSet<SanName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn object(common_name: &str, sans: &[&str]) -> Value {
        let made = KeyAndRequest::new(common_name, &names(sans)).unwrap();
        let mut object: CertificateSigningRequest = serde_json::from_value(json!({
            "metadata": {"name": "r"},
            "spec": {
                "request": "", "signerName": SIGNER, "usages": ["server auth", "digital signature"], "username": NODE_GUARD,
                "extra": {EXTRA_NODE: ["n1"], EXTRA_POD: ["4c0f"], "authentication.kubernetes.io/pod-name": ["guard-x"]},
            },
        }))
        .unwrap();
        object.spec.request = ByteString(made.request_pem.into_bytes());
        serde_json::to_value(object).unwrap()
    }

    fn judged(object: &Value) -> Result<Request, &'static str> {
        let object = serde_json::from_value(object.clone()).unwrap();
        let allowed = names(&["10.96.0.1", "fd00::1", "kubernetes.default.svc"]);
        judge(&object, NODE_GUARD, &allowed).map_err(|denial| denial.reason)
    }

    #[test]
    fn a_node_gets_a_leaf_for_the_api_servers_names() {
        assert!(judged(&object("egress-guard:node:n1", &["10.96.0.1", "kubernetes.default.svc"])).is_ok());
    }

    #[test]
    fn nobody_else_gets_one_and_for_nothing_else() {
        let good = || object("egress-guard:node:n1", &["10.96.0.1"]);
        let with = |path: &str, value: Value| {
            let mut object = good();
            *object.pointer_mut(path).unwrap() = value;
            judged(&object).unwrap_err()
        };
        assert_eq!(with("/spec/username", json!("system:serviceaccount:default:agent")), "NotANode");
        assert_eq!(with("/spec/username", json!("system:serviceaccount:egress-guard:default")), "NotANode");
        assert_eq!(with("/spec/extra", json!({})), "NotBoundToANode");
        assert_eq!(with("/spec/extra", json!({EXTRA_NODE: ["n1"]})), "NotBoundToANode");
        assert_eq!(with("/spec/extra", json!({EXTRA_NODE: ["n1", "n2"], EXTRA_POD: ["4c0f"]})), "NotBoundToANode");
        assert_eq!(with("/spec/extra", json!({EXTRA_NODE: ["n2"], EXTRA_POD: ["4c0f"]})), "OtherNode");
        assert_eq!(with("/spec/usages", json!(["server auth", "digital signature", "client auth"])), "Usages");
        assert_eq!(with("/spec/usages", json!(["cert sign"])), "Usages");
        assert_eq!(with("/spec/request", json!("bm9uc2Vuc2U=")), "Request");
        assert_eq!(judged(&object("egress-guard:node:n2", &["10.96.0.1"])).unwrap_err(), "OtherNode");
        assert_eq!(judged(&object("egress-guard:node:n1", &["10.96.0.1", "10.96.0.2"])).unwrap_err(), "ForeignNames");
        assert_eq!(judged(&object("egress-guard:node:n1", &["evil.example.com"])).unwrap_err(), "ForeignNames");
        assert_eq!(judged(&object("egress-guard:node:n1", &[])).unwrap_err(), "NoName");
    }

    #[test]
    fn what_was_answered_is_not_answered_again() {
        let mut request: CertificateSigningRequest =
            serde_json::from_value(object("egress-guard:node:n1", &["10.96.0.1"])).unwrap();
        assert!(is_open(&request));
        request.status.get_or_insert_default().conditions = Some(vec![condition("Approved", "x", String::new())]);
        assert!(is_open(&request), "approved, and no certificate yet");
        request.status.get_or_insert_default().conditions = Some(vec![condition("Denied", "x", "ä".repeat(5000))]);
        assert!(!is_open(&request));
        assert!(conditions(&request)[0].message.as_ref().unwrap().len() <= MAX_MESSAGE);
    }
}
