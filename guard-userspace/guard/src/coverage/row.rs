//! What is to be said of a pod.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use guard_api::{AGENT_LABEL, ApiClient, GuardNode};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::node::guard_node::HEARTBEAT;

/// A guard that has not written for so long tells nothing of now.
const SILENCE: Duration = HEARTBEAT.saturating_mul(3);

/// By which the kubelet knows a static pod, whose object has a uid of its own.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// How a pod stands to the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// An agent that the guard of its node does not serve: closed, so that it has no access.
    CutOff,
    /// An agent on a node whose guard is silent or was never there: if a guard has run there, the kernel goes on refusing.
    NoGuard,
    /// An agent that the guard of its node has not told of yet.
    Unknown,
    /// No agent, and it talks to the API server past the guard.
    Unlabelled,
    /// An agent that is served.
    Guarded,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    state: State,
    namespace: String,
    name: String,
    node: String,
    /// The label's value, if the pod has it itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// Whose template made it: what to label.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// To the API server, past the guard.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<i32>,
}

/// What the guard of one node says.
pub(super) struct Said {
    alive: bool,
    agents: BTreeMap<String, bool>,
    clients: BTreeMap<String, ApiClient>,
}

impl Said {
    pub(super) fn of(guard: &GuardNode, now: Timestamp) -> Self {
        let status = guard.status.clone().unwrap_or_default();
        let age = status.last_seen.map(|seen| Duration::try_from(now.duration_since(seen.0)).unwrap_or_default());
        Self {
            alive: age.is_some_and(|age| age < SILENCE),
            agents: status.agent_pods.into_iter().map(|pod| (pod.uid, pod.guarded)).collect(),
            clients: status.clients.into_iter().map(|client| (client.uid.clone(), client)).collect(),
        }
    }
}

impl Row {
    /// `None` where there is nothing to say: pods that have ended or have no node yet, and those without the label that don't talk to the API server.
    pub(super) fn of(pod: &Pod, guards: &BTreeMap<String, Said>) -> Option<Self> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let node = pod.spec.as_ref()?.node_name.clone().filter(|_| !matches!(phase, Some("Succeeded" | "Failed")))?;
        let uid = pod.uid()?;
        let on_node = pod.annotations().get(MIRROR).unwrap_or(&uid);
        let said = guards.get(&node);
        let class = pod.labels().get(AGENT_LABEL).cloned();
        let told = said.and_then(|said| said.agents.get(&uid));
        let client = said.and_then(|said| said.clients.get(on_node));
        let state = match (told, said.is_some_and(|said| said.alive)) {
            (Some(_), false) => State::NoGuard,
            (Some(true), true) => State::Guarded,
            (Some(false), true) => State::CutOff,
            (None, alive) if class.is_some() => {
                if alive {
                    State::Unknown
                } else {
                    State::NoGuard
                }
            }
            (None, _) => client.map(|_| State::Unlabelled)?,
        };
        let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        Some(Self {
            state,
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            node,
            class,
            owner: owner.map(|owner| format!("{}/{}", owner.kind, owner.name)),
            connections: client.filter(|_| state == State::Unlabelled).map(|client| client.connections),
        })
    }
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::CutOff => "cut off",
            Self::NoGuard => "no guard",
            Self::Unknown => "unknown",
            Self::Unlabelled => "unlabelled",
            Self::Guarded => "guarded",
        }
    }
}

/// What needs somebody first, and the sums below.
pub(super) fn table(rows: &[Row]) -> String {
    let head = ["STATE", "NAMESPACE", "POD", "NODE", "CLASS", "OWNER", "CONNECTIONS"].map(str::to_owned);
    let cells = |row: &Row| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [
            row.state.as_str().to_owned(),
            row.namespace.clone(),
            row.name.clone(),
            row.node.clone(),
            or_none(&row.class),
            or_none(&row.owner),
            row.connections.map_or_else(|| "-".to_owned(), |count| count.to_string()),
        ]
    };
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let padded =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>().join("   ");
        text += padded.trim_end();
        text.push('\n');
    }
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    let unlabelled = count(State::Unlabelled);
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "\n{} agent pods: {} guarded, {} cut off, {} without a guard, {} not told of yet. {unlabelled} pods without the label talk to the API server.",
        rows.len() - unlabelled,
        count(State::Guarded),
        count(State::CutOff),
        count(State::NoGuard),
        count(State::Unknown)
    );
    text
}

/// `{"pods": […]}`.
pub(super) fn json(rows: &[Row]) -> String {
    serde_json::json!({ "pods": rows }).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, node: &str, labels: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "namespace": "a", "name": name, "uid": format!("uid-{name}"), "labels": labels,
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "x", "controller": true}],
            },
            "spec": {"nodeName": node, "containers": []},
        }))
        .unwrap()
    }

    fn guards(last_seen: Timestamp) -> BTreeMap<String, Said> {
        let guard: GuardNode = serde_json::from_value(json!({
            "apiVersion": "egressguard.io/v1alpha1", "kind": "GuardNode", "metadata": {"name": "n1"}, "spec": {},
            "status": {
                "lastSeen": last_seen.to_string(),
                "agentPods": [
                    {"namespace": "a", "name": "served", "uid": "uid-served", "guarded": true},
                    {"namespace": "a", "name": "late", "uid": "uid-late", "guarded": false},
                ],
                "clients": [{"uid": "uid-web", "connections": 3, "lastSeen": last_seen.to_string()}],
            },
        }))
        .unwrap();
        [("n1".to_owned(), Said::of(&guard, Timestamp::now()))].into()
    }

    #[test]
    fn each_pod_is_what_the_guard_of_its_node_says() {
        let (agent, none) = (json!({AGENT_LABEL: "bot"}), json!({}));
        let guards_of_now = guards(Timestamp::now());
        let state = |name, node, labels| Row::of(&pod(name, node, labels), &guards_of_now).map(|row| row.state);
        assert_eq!(state("served", "n1", &agent), Some(State::Guarded));
        assert_eq!(state("served", "n1", &none), Some(State::Guarded), "an agent by its namespace");
        assert_eq!(state("late", "n1", &agent), Some(State::CutOff));
        assert_eq!(state("new", "n1", &agent), Some(State::Unknown));
        assert_eq!(state("new", "n2", &agent), Some(State::NoGuard));
        assert_eq!(state("web", "n1", &none), Some(State::Unlabelled));
        assert_eq!(state("web", "n2", &none), None);
        assert_eq!(state("quiet", "n1", &none), None);
        let silent = guards(Timestamp::UNIX_EPOCH);
        assert_eq!(Row::of(&pod("served", "n1", &agent), &silent).map(|row| row.state), Some(State::NoGuard));
    }

    #[test]
    fn what_needs_somebody_comes_first_and_names_whose_template_it_is() {
        let guards = guards(Timestamp::now());
        let pods = [
            pod("served", "n1", &json!({AGENT_LABEL: "bot"})),
            pod("web", "n1", &json!({})),
            pod("late", "n1", &json!({})),
        ];
        let mut rows: Vec<Row> = pods.iter().filter_map(|pod| Row::of(pod, &guards)).collect();
        rows.sort();
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("cut off") && lines[2].starts_with("unlabelled") && lines[3].starts_with("guarded"),
            "{text}"
        );
        assert!(lines[2].contains("ReplicaSet/web-1") && lines[2].ends_with('3'), "{text}");
        assert!(text.contains("2 agent pods: 1 guarded, 1 cut off"), "{text}");
        let value: Value = serde_json::from_str(&json(&rows)).unwrap();
        assert_eq!(value["pods"][1]["state"], "unlabelled");
    }
}
