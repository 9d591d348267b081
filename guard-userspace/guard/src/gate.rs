//! `guard gate`: the first init container of an agent pod. It ends well only when every way to the control plane but the guard's is closed.
//!
//! It believes nothing it can try itself. The one thing it can't, a raw packet, the node guard sends for it, and shows the kernel's count.

mod guard;
mod identity;
mod ways;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use guard_proxy::GateProof;
use tokio::time::Instant;

use guard::Guard;
use identity::Identity;

/// Between two attempts: the node guard may still be at work on this pod. More than the node guard's own interval for proofs.
const RETRY: Duration = Duration::from_secs(1);

/// Command line of `guard gate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long to wait for the guard of this node, in seconds.
    #[arg(long, default_value_t = 120, env = "GUARD_GATE_TIMEOUT")]
    pub(crate) timeout: u64,
    /// Where ca.crt and token are.
    #[arg(long, default_value = "/var/run/secrets/kubernetes.io/serviceaccount")]
    credentials: PathBuf,
    /// The API server's address, as the kubelet gives it to every container.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST")]
    host: String,
    /// Its port.
    #[arg(long, env = "KUBERNETES_SERVICE_PORT", default_value_t = 443)]
    port: u16,
}

/// Returns when this pod is proven to be guarded.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(prove(args))
}

async fn prove(args: &Args) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(args.timeout);
    let mut last = None;
    loop {
        let error = match attempt(args).await {
            Ok(proof) => {
                println!(
                    "guarded: {}/{} ({}) by the guard of node {}; {} ways to the control plane tried and closed, {} raw packets dropped",
                    proof.namespace,
                    proof.pod,
                    proof.class,
                    proof.node,
                    proof.refused.len(),
                    proof.packets_dropped
                );
                return Ok(());
            }
            Err(error) => format!("{error:#}"),
        };
        if last.as_ref() != Some(&error) {
            eprintln!("guard gate: not proven yet: {error}");
        }
        if Instant::now() + RETRY >= end {
            bail!("this pod is not proven to be guarded after {} s, so it must not start: {error}", args.timeout);
        }
        last = Some(error);
        tokio::time::sleep(RETRY).await;
    }
}

/// The proof, and the version of the API server that answers through the guard.
pub(crate) async fn demonstrate(args: &Args) -> Result<(GateProof, String)> {
    let proof = attempt(args).await?;
    let identity = Identity::read(&args.credentials)?;
    let version = Guard::new(&args.host, args.port, &identity)?.version(&identity).await?;
    Ok((proof, version))
}

async fn attempt(args: &Args) -> Result<GateProof> {
    let identity = Identity::read(&args.credentials)?;
    let guard = Guard::new(&args.host, args.port, &identity)?;
    let proof = guard.ask(&identity).await?;
    ensure!(
        proof.uid == identity.pod_uid,
        "the guard takes this pod for {}/{} (uid {}), and its token is of uid {}",
        proof.namespace,
        proof.pod,
        proof.uid,
        identity.pod_uid
    );
    ensure!(
        proof.packets_injected > 0 && proof.packets_dropped == proof.packets_injected,
        "open: raw packets. The node guard sent {} from this pod's interfaces to the control plane, and the kernel dropped {}",
        proof.packets_injected,
        proof.packets_dropped
    );
    ensure!(!proof.refused.is_empty(), "the guard named no address of the control plane to try");
    for address in &proof.refused {
        ways::udp_is_refused(*address)?;
        ways::tcp_is_closed(*address, &guard, &identity).await?;
    }
    Ok(proof)
}
