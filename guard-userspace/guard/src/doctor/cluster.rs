//! The cluster's half: what the API server shows to whoever asks.

use anyhow::Result;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};

use guard_api::AGENT_LABEL;

use super::admission::{self, MUTATING, Policies, VALIDATING};
use super::finding::Finding;
use super::{agents, guards};

/// Looks at the cluster of the current kubeconfig, or of the pod that this runs in.
pub(super) async fn look(namespace: &str) -> Vec<Finding> {
    let client = match Client::try_default().await {
        Ok(client) => client,
        Err(error) => return vec![Finding::fail("API server", error.to_string(), "set KUBECONFIG, as for kubectl")],
    };
    let mut findings = Vec::new();
    match client.apiserver_version().await {
        Ok(version) => findings.push(admission::version(&version.major, &version.minor)),
        Err(error) => {
            findings.push(Finding::fail(
                "API server",
                error.to_string(),
                "is it reachable from here, and the kubeconfig valid?",
            ));
            return findings;
        }
    }
    let parts = whole(&mut findings, "installation", installation(&client, namespace).await).unwrap_or_default();
    let installed = !parts.is_empty();
    if !installed {
        findings.push(Finding::ok("installation", format!("the guard is not installed in namespace {namespace}")));
    }
    findings.extend(parts);
    if let Some(apis) = whole(&mut findings, "admission", admission_apis(&client).await) {
        findings.extend(admission::apis(&apis));
    }
    if let Some(nodes) =
        whole(&mut findings, "nodes", Api::<Node>::all(client.clone()).list(&ListParams::default()).await)
    {
        findings.extend(guards::nodes(&nodes.items));
    }
    let labelled = ListParams::default().labels(AGENT_LABEL);
    let pods = whole(&mut findings, "agents", Api::<Pod>::all(client.clone()).list(&labelled).await);
    let namespaces = whole(&mut findings, "namespaces", Api::<Namespace>::all(client.clone()).list(&labelled).await);
    if let (Some(pods), Some(namespaces)) = (&pods, &namespaces) {
        let names: Vec<String> = namespaces.items.iter().map(ResourceExt::name_any).collect();
        findings.extend(agents::look(&pods.items, &names));
    }
    if installed {
        for kind in [VALIDATING, MUTATING] {
            if let Some(found) = whole(&mut findings, "policies", policies(&client, kind).await) {
                findings.push(admission::complete(kind, &admission::expected(kind), &found));
            }
        }
        let bundle = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt("egress-guard-ca").await;
        if let Some(map) = whole(&mut findings, "certificates", bundle) {
            let text = map.and_then(|map| map.data).and_then(|mut data| data.remove("ca.crt"));
            findings.push(guards::authority(text.as_deref(), Timestamp::now()));
        }
        if let Some(told) =
            whole(&mut findings, "guards", list(&client, "egressguard.io", "v1alpha1", "GuardNode").await)
        {
            let busy = pods.iter().flat_map(|pods| &pods.items).filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
            findings.extend(guards::told(&told, busy, Timestamp::now()));
        }
    }
    findings
}

/// What could not be looked at is a finding of its own.
fn whole<T, E: std::fmt::Display>(findings: &mut Vec<Finding>, check: &'static str, looked: Result<T, E>) -> Option<T> {
    looked
        .map_err(|error| {
            findings.push(Finding::warn(
                check,
                format!("could not be looked at: {error}"),
                "ask as somebody who may read it",
            ));
        })
        .ok()
}

/// How the parts of the guard are; none if it is not installed.
async fn installation(client: &Client, namespace: &str) -> Result<Vec<Finding>, kube::Error> {
    let mut findings = Vec::new();
    if let Some(set) = Api::<DaemonSet>::namespaced(client.clone(), namespace).get_opt("egress-guard-node").await? {
        let status = set.status.unwrap_or_default();
        findings.push(part("DaemonSet egress-guard-node", status.desired_number_scheduled, status.number_ready));
    }
    if let Some(control) =
        Api::<Deployment>::namespaced(client.clone(), namespace).get_opt("egress-guard-control").await?
    {
        let wanted = control.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let ready = control.status.and_then(|status| status.ready_replicas).unwrap_or(0);
        findings.push(part("Deployment egress-guard-control", wanted, ready));
    }
    Ok(findings)
}

fn part(name: &str, wanted: i32, ready: i32) -> Finding {
    let found = format!("{name}: {ready} of {wanted} ready");
    if ready >= wanted {
        return Finding::ok("installation", found);
    }
    Finding::fail("installation", found, "`kubectl describe` its pods: their events and logs say what they wait for")
}

/// Which of the kinds that admission and trust stand on the cluster has.
async fn admission_apis(client: &Client) -> Result<Vec<String>, kube::Error> {
    let mut found = Vec::new();
    for group in ["admissionregistration.k8s.io/v1", "certificates.k8s.io/v1"] {
        let resources = client.list_api_group_resources(group).await?;
        found.extend(resources.resources.into_iter().map(|resource| resource.kind));
    }
    Ok(found)
}

/// The guard's policies of a kind, and its bindings.
async fn policies(client: &Client, kind: &str) -> Result<Policies, kube::Error> {
    let names = async |kind: String| {
        let all = list(client, "admissionregistration.k8s.io", "v1", kind).await?;
        Ok::<_, kube::Error>(
            all.iter().map(ResourceExt::name_any).filter(|name| name.starts_with("egress-guard")).collect(),
        )
    };
    Ok(Policies { policies: names(kind.to_owned()).await?, bindings: names(format!("{kind}Binding")).await? })
}

/// All objects of a kind; none where the cluster does not know it.
async fn list(
    client: &Client,
    group: &str,
    version: &str,
    kind: impl AsRef<str>,
) -> Result<Vec<DynamicObject>, kube::Error> {
    let kind = GroupVersionKind::gvk(group, version, kind.as_ref());
    let plural = if kind.kind.ends_with("Policy") {
        format!("{}ies", kind.kind.trim_end_matches('y').to_lowercase())
    } else {
        format!("{}s", kind.kind.to_lowercase())
    };
    let api = Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, &plural));
    match api.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_part_that_is_not_whole_has_failed() {
        assert_eq!(part("DaemonSet x", 2, 2).status, Status::Ok);
        assert_eq!(part("DaemonSet x", 2, 1).status, Status::Fail);
    }
}
