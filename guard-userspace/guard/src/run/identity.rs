//! Who the command is to the pipeline: its workload, and the user whose credential the guard uses.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use guard_identity::{AuthError, Caller, PodIdentity, UpstreamError, Workload, WorkloadId};
use guard_proxy::{Authenticate, GateProof, GateService, Observer};

/// What the command's kubeconfig has as token: kubectl asks for a password where there is none. It is worth nothing.
pub(super) const NO_TOKEN: &str = "guarded";

/// The namespace that log lines have.
const NAMESPACE: &str = "guard-run";

/// Answers for one run.
pub(super) struct Identity {
    run: String,
    caller: Caller,
}

impl Identity {
    pub(super) fn new(run: &str, caller: &Caller) -> Self {
        Self { run: run.to_owned(), caller: caller.clone() }
    }
}

/// The command as a workload.
pub(super) fn workload(run: &str, cgroup: &Path) -> Result<Arc<Workload>> {
    let pod = PodIdentity {
        namespace: NAMESPACE.to_owned(),
        name: run.to_owned(),
        uid: run.parse().context("the run's number")?,
        service_account: String::new(),
        node: String::new(),
    };
    let id = WorkloadId(cgroup_id(cgroup)?);
    Ok(Arc::new(Workload { id, pod, class: "guard-run".parse()?, labels: [].into() }))
}

/// The kernel's number for a cgroup.
pub(super) fn cgroup_id(cgroup: &Path) -> Result<u64> {
    let found = std::fs::metadata(cgroup).with_context(|| format!("looking at {}", cgroup.display()))?;
    Ok(found.ino())
}

#[async_trait]
impl Authenticate for Identity {
    /// The kernel says that it is the command. A credential of its own is not used, so it is not taken either: whoever sends one expects its
    /// rights.
    async fn authenticate(&self, _: &Workload, bearer: Option<&str>) -> Result<Caller, AuthError> {
        match bearer {
            None | Some(NO_TOKEN) => Ok(self.caller.clone()),
            Some(_) => Err(AuthError::Audience),
        }
    }
}

impl Observer for Identity {
    fn tls_refused(&self, _: &Workload, alert: &str) {
        tracing::warn!(
            run = self.run,
            alert,
            "a client of the command does not trust the guard's certificate: does it use KUBECONFIG?"
        );
    }

    fn authentication_failed(&self, _: &Workload, error: &AuthError) {
        tracing::warn!(run = self.run, %error, "a client of the command sent a credential of its own");
    }

    fn credentials_unavailable(&self, _: &Workload, error: &UpstreamError) {
        tracing::warn!(run = self.run, %error, "the kubeconfig's credential can't be had");
    }
}

#[async_trait]
impl GateService for Identity {
    async fn prove(&self, _: &Workload) -> Result<GateProof, String> {
        Err("guard run has no gate: the command starts when it is guarded".to_owned())
    }
}
