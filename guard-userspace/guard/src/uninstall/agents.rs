//! The agents that an uninstallation would strand: they hold credentials that nothing accepts but the guard.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use guard_api::AGENT_LABEL;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

/// On the guard's namespace, `true`: agents may be stranded. (A value of the chart can't be changed any more once Helm has begun to uninstall.)
const ALLOWED: &str = "egressguard.io/strand-agents";
/// Names that are listed; the rest is a number.
const MOST_NAMED: usize = 50;

/// Command line of `guard uninstall check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on though there are agents.
    #[arg(long)]
    strand_agents: bool,
    /// The guard's own namespace: its annotation `egressguard.io/strand-agents` allows the same.
    #[arg(long)]
    namespace: String,
}

/// Prints them; an error unless there are none, or that is allowed.
pub(super) async fn check(args: &Args) -> Result<()> {
    let client = Client::try_default().await.context("finding the API server")?;
    let pods = Api::<Pod>::all(client.clone()).list(&labelled()).await.context("listing agent pods")?;
    let namespaces = Api::<Namespace>::all(client);
    let own =
        namespaces.get(&args.namespace).await.with_context(|| format!("looking at namespace {}", args.namespace))?;
    let allowed = args.strand_agents || own.annotations().get(ALLOWED).is_some_and(|value| value == "true");
    let namespaces = namespaces.list(&labelled()).await.context("listing namespaces of agents")?;
    let running: BTreeSet<String> = pods.items.iter().filter(|pod| !has_ended(pod)).map(line).collect();
    let labelled: BTreeSet<String> = namespaces.items.iter().map(ResourceExt::name_any).collect();
    let report = report(&running, &labelled);
    if running.is_empty() || allowed {
        println!("{report}");
        return Ok(());
    }
    bail!(
        "{report}\nNothing was deleted. Either take the label off their templates and namespaces and let the pods be made anew, or allow it \
         with `kubectl annotate namespace {} {ALLOWED}=true`, and uninstall again.",
        args.namespace
    )
}

fn labelled() -> ListParams {
    ListParams::default().labels(AGENT_LABEL)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn line(pod: &Pod) -> String {
    let class = pod.labels().get(AGENT_LABEL).map_or("", String::as_str);
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node yet");
    format!("{}/{} (class {class}, on {node})", pod.namespace().unwrap_or_default(), pod.name_any())
}

fn report(running: &BTreeSet<String>, namespaces: &BTreeSet<String>) -> String {
    let mut text = match running.len() {
        0 => "No agent pod is left without an API server.".to_owned(),
        number => format!("{number} agent pods lose the API server until they are made anew without the label:"),
    };
    for pod in running.iter().take(MOST_NAMED) {
        // Writing to a String can't fail.
        let _ = write!(text, "\n  {pod}");
    }
    if running.len() > MOST_NAMED {
        let _ = write!(text, "\n  … and {} more", running.len() - MOST_NAMED);
    }
    if !namespaces.is_empty() {
        let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
        let _ = write!(text, "\nNamespaces whose pods are agents: {}.", names.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn agents_are_named_and_many_of_them_counted() {
        assert_eq!(report(&names(&[]), &names(&[])), "No agent pod is left without an API server.");
        let text = report(&names(&["a/bot (class ci, on n1)"]), &names(&["a", "b"]));
        assert!(text.contains("\n  a/bot (class ci, on n1)") && text.ends_with("agents: a, b."), "{text}");
        let many: BTreeSet<String> = (0..MOST_NAMED + 7).map(|number| format!("a/{number}")).collect();
        assert!(report(&many, &names(&[])).ends_with("… and 7 more"));
    }

    #[test]
    fn a_pod_that_has_ended_can_not_be_stranded() {
        let pod = |phase: &str| -> Pod {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "bot", "namespace": "a", "labels": {"egressguard.io/agent": "ci"}},
                "spec": {"containers": [], "nodeName": "n1"},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        assert!(has_ended(&pod("Succeeded")) && !has_ended(&pod("Running")) && !has_ended(&pod("Pending")));
        assert_eq!(line(&pod("Running")), "a/bot (class ci, on n1)");
    }
}
