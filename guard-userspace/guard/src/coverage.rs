//! `guard coverage` (as a plugin, `kubectl guard coverage`): which pods are agents, which of them are guarded, and which others talk to the API server, so
//! that a security team knows what to label next.
//!
//! It reads pods and `GuardNode`s and nothing else: what a node's guard says of its own node is all that there is to know.

mod row;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use guard_api::GuardNode;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use row::{Row, Said};

/// Objects in one answer of the API server: a cluster may have any number of pods.
const PAGE: u32 = 500;

/// Command line of `guard coverage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pods of this namespace alone.
    #[arg(long, short)]
    namespace: Option<String>,
    /// As a table, or as one JSON document.
    #[arg(long, short, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Prints it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(rows(args.namespace.as_deref()))?;
    match args.output {
        Output::Table => print!("{}", row::table(&rows)),
        Output::Json => println!("{}", row::json(&rows)),
    }
    Ok(())
}

async fn rows(namespace: Option<&str>) -> Result<Vec<Row>> {
    let client = Client::try_default().await.context("set KUBECONFIG, as for kubectl")?;
    let guards: Api<GuardNode> = Api::all(client.clone());
    let guards = all(guards).await.context("listing GuardNodes; is the guard installed, and may you read them?")?;
    let now = Timestamp::now();
    let guards: BTreeMap<String, Said> = guards.iter().map(|guard| (guard.name_any(), Said::of(guard, now))).collect();
    let pods: Api<Pod> =
        namespace.map_or_else(|| Api::all(client.clone()), |name| Api::namespaced(client.clone(), name));
    let pods = all(pods).await.context("listing pods")?;
    let mut rows: Vec<Row> = pods.iter().filter_map(|pod| Row::of(pod, &guards)).collect();
    rows.sort();
    Ok(rows)
}

/// Page by page.
async fn all<K>(api: Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(found),
        }
    }
}
