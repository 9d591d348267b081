//! `guard prove`: what `helm test` runs. An agent pod on each node shows what it meets and what it is refused, and one pod gathers that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use guard_admission::GATE_CONTAINER;
use guard_proxy::GateProof;
use guard_telemetry::Readiness;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::{gate, health};

/// Between two tries, and between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Of each container that is shown when something is wrong.
const LINES: i64 = 10;

/// Command line of `guard prove`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// As an agent on this node: proves enforcement, asks the API server something, says so, and stays until it is told to go.
    Agent(Agent),
    /// Waits until the agents of all nodes have said so, and prints what they say.
    Nodes(Nodes),
}

#[derive(Debug, clap::Args)]
struct Agent {
    #[command(flatten)]
    gate: gate::Args,
    /// A socket that answers `guard health`: ready means proven.
    #[arg(long)]
    health_socket: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Nodes {
    /// Where the agents are.
    #[arg(long)]
    namespace: String,
    /// The `DaemonSet` that they are of.
    #[arg(long)]
    daemon_set: String,
    /// How long all of them have, in seconds.
    #[arg(long, default_value_t = 240)]
    timeout: u64,
}

/// Runs one part.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        match &args.part {
            Part::Agent(agent) => prove(agent).await,
            Part::Nodes(nodes) => gather(nodes).await,
        }
    })
}

async fn prove(args: &Agent) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let readiness = Readiness::default();
    let _health = health::serve(&args.health_socket, &readiness)?;
    let end = Instant::now() + Duration::from_secs(args.gate.timeout);
    let (proof, version) = loop {
        match gate::demonstrate(&args.gate).await {
            Ok(shown) => break shown,
            Err(error) if Instant::now() < end => println!("not proven yet: {error:#}"),
            Err(error) => return Err(error).context("this pod is not proven to be guarded"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    println!("{}", report(&proof, &version));
    readiness.set(true);
    terminate.recv().await;
    Ok(())
}

fn report(proof: &GateProof, version: &str) -> String {
    let ways: Vec<String> = proof.refused.iter().map(ToString::to_string).collect();
    format!(
        "node {}: the API server's address shows the guard's certificate, and Kubernetes {version} answers through the guard\n\
         node {}: refused by the kernel, TCP and UDP each: {}\n\
         node {}: raw packets sent from this pod: {}, dropped: {}",
        proof.node,
        proof.node,
        ways.join(", "),
        proof.node,
        proof.packets_injected,
        proof.packets_dropped,
    )
}

async fn gather(args: &Nodes) -> Result<()> {
    let client = Client::try_default().await.context("finding the API server")?;
    let sets = Api::<DaemonSet>::namespaced(client.clone(), &args.namespace);
    let pods = Api::<Pod>::namespaced(client, &args.namespace);
    let end = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let set =
            sets.get(&args.daemon_set).await.with_context(|| format!("looking at DaemonSet {}", args.daemon_set))?;
        let labels = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
        let status = set.status.clone().unwrap_or_default();
        let wanted = status.desired_number_scheduled;
        let is_done =
            status.observed_generation >= set.metadata.generation && status.number_ready >= wanted && wanted > 0;
        let is_over = Instant::now() + PAUSE > end;
        if is_done || is_over {
            let told = logs(&pods, &labels, is_done).await?;
            println!("{told}");
            ensure!(is_done, "proven on {} of {wanted} nodes after {} s", status.number_ready, args.timeout);
            println!("enforcement is proven on all {wanted} nodes");
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the pods say; of those that are not ready, their gate as well.
async fn logs(pods: &Api<Pod>, labels: &BTreeMap<String, String>, all_is_well: bool) -> Result<String> {
    let selector: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if selector.is_empty() {
        bail!("the DaemonSet selects no pods");
    }
    let found = pods.list(&ListParams::default().labels(&selector.join(","))).await.context("listing the agents")?;
    let mut text = String::new();
    for pod in found {
        let containers: &[&str] = if all_is_well { &["agent"] } else { &[GATE_CONTAINER, "agent"] };
        for container in containers {
            let params =
                LogParams { container: Some((*container).to_owned()), tail_lines: Some(LINES), ..LogParams::default() };
            let log = pods.logs(&pod.name_any(), &params).await.unwrap_or_else(|error| error.to_string());
            if all_is_well {
                text.push_str(&log);
            } else {
                let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
                // Writing to a String can't fail.
                let _ = writeln!(text, "-- {container} on {node}:\n{}", log.trim_end());
            }
        }
    }
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_node_and_every_way_that_is_closed() {
        let proof: GateProof = serde_json::from_value(serde_json::json!({
            "node": "n1", "namespace": "a", "pod": "p", "uid": "1", "class": "ci", "hooks": [],
            "refused": ["172.30.0.10:6443", "[fd00::1]:10250"], "packetsInjected": 4, "packetsDropped": 4,
        }))
        .unwrap();
        let text = report(&proof, "v1.37.2");
        assert!(text.lines().all(|line| line.starts_with("node n1: ")), "{text}");
        assert!(text.contains("172.30.0.10:6443, [fd00::1]:10250") && text.contains("dropped: 4"), "{text}");
    }
}
