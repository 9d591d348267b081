//! What the guard made in the API while it ran, and Helm knows nothing of.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// The signer of node guards' certificates.
const SIGNER: &str = "egressguard.io/serving";
/// The trust bundle that control publishes, where the cluster has such a kind.
const TRUST_BUNDLE: &str = "egressguard.io:serving:ca";
/// The Secret of the CA, and the `ConfigMap` with its certificate.
const CA: &str = "egress-guard-ca";
/// What the replicas of control elect their leader by.
const LEASE: &str = "egress-guard-control";
/// Between two looks at the nodes.
const LOOK: Duration = Duration::from_secs(1);

/// Command line of `guard uninstall cluster`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The guard's namespace.
    #[arg(long)]
    namespace: String,
    /// The `DaemonSet` that runs `guard uninstall node`.
    #[arg(long)]
    daemon_set: String,
    /// How long all nodes have, in seconds.
    #[arg(long, default_value_t = 240)]
    timeout: u64,
}

/// Deletes all of it, once all nodes are done.
pub(super) async fn clean(args: &Args) -> Result<()> {
    let client = Client::try_default().await.context("finding the API server")?;
    let nodes = wait_for_nodes(args, &client).await;
    let mut deleted = Vec::new();
    let requests = Api::<CertificateSigningRequest>::all(client.clone());
    let own = ListParams::default().fields(&format!("spec.signerName={SIGNER}"));
    for request in requests.list(&own).await.context("listing certificate signing requests")? {
        delete(&requests, &request.name_any(), &mut deleted).await?;
    }
    let guard_nodes = dynamic(&client, "egressguard.io", "v1alpha1", "GuardNode");
    for node in
        found(guard_nodes.list(&ListParams::default()).await).context("listing GuardNodes")?.into_iter().flatten()
    {
        delete_kind(&guard_nodes, "GuardNode", &node.name_any(), &mut deleted).await?;
    }
    for version in ["v1", "v1beta1"] {
        let bundles = dynamic(&client, "certificates.k8s.io", version, "ClusterTrustBundle");
        delete_kind(&bundles, "ClusterTrustBundle", TRUST_BUNDLE, &mut deleted).await?;
    }
    delete(&Api::<Secret>::namespaced(client.clone(), &args.namespace), CA, &mut deleted).await?;
    delete(&Api::<ConfigMap>::namespaced(client.clone(), &args.namespace), CA, &mut deleted).await?;
    delete(&Api::<Lease>::namespaced(client, &args.namespace), LEASE, &mut deleted).await?;
    println!("deleted: {}", if deleted.is_empty() { "nothing was left".to_owned() } else { deleted.join(", ") });
    println!("{}", nodes?);
    Ok(())
}

/// Says which nodes are done; an error names those that are not.
async fn wait_for_nodes(args: &Args, client: &Client) -> Result<String> {
    let daemon_sets = Api::<DaemonSet>::namespaced(client.clone(), &args.namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), &args.namespace);
    let end = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let set = daemon_sets
            .get(&args.daemon_set)
            .await
            .with_context(|| format!("looking at DaemonSet {}", args.daemon_set))?;
        let status = set.status.clone().unwrap_or_default();
        let is_current = status.observed_generation >= set.metadata.generation;
        if is_current && status.number_ready >= status.desired_number_scheduled {
            return Ok(format!("nodes from whose kernels the guard is gone: {}", status.number_ready));
        }
        if Instant::now() + LOOK > end {
            let selector = set.spec.and_then(|spec| spec.selector.match_labels).unwrap_or_default();
            let selector: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let all = pods
                .list(&ListParams::default().labels(&selector.join(",")))
                .await
                .context("listing the nodes' pods")?;
            let late: Vec<String> = all.items.iter().filter(|pod| !is_ready(pod)).map(node_of).collect();
            bail!(
                "after {} s these nodes have not said that the guard is gone from their kernels: {}. What is left there ends with the node's \
                 next boot; `guard uninstall node` on the node ends it now",
                args.timeout,
                late.join(", ")
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

fn node_of(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_else(|| pod.name_any())
}

fn dynamic(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
}

async fn delete<K>(api: &Api<K>, name: &str, deleted: &mut Vec<String>) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    delete_kind(api, &K::kind(&()), name, deleted).await
}

async fn delete_kind<K>(api: &Api<K>, kind: &str, name: &str, deleted: &mut Vec<String>) -> Result<()>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    if found(api.delete(name, &DeleteParams::default()).await)
        .with_context(|| format!("deleting {kind} {name}"))?
        .is_some()
    {
        deleted.push(format!("{kind} {name}"));
    }
    Ok(())
}

/// No such object, or no such kind in this cluster, is nothing to delete.
fn found<T>(answer: kube::Result<T>) -> kube::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
