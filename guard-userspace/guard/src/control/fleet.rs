//! All nodes together: who guards, who has gone silent, and where agents are without a guard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use guard_api::{AGENT_LABEL, GuardNode};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Client};

use super::metrics::ControlMetrics;
use crate::node::follow::objects;
use crate::node::guard_node::HEARTBEAT;

/// A guard that has not written for so long is silent: three heartbeats, and what a busy API server adds.
const SILENCE: Duration = HEARTBEAT.saturating_mul(3);

/// A node that has just come, or whose guard is just being replaced, is given this long.
const PATIENCE: Duration = Duration::from_mins(2);

/// How often is looked at the clock.
const LOOK: Duration = Duration::from_secs(10);

/// Between two events on one node.
const EVENT_INTERVAL: Duration = Duration::from_mins(10);

/// Longest publishing of one event.
const TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Fleet {
    pub(super) client: Client,
    pub(super) identity: String,
    pub(super) metrics: Arc<ControlMetrics>,
}

/// What a guard says of itself, as far as it is summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    last_seen: Option<Timestamp>,
    ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Waiting,
    Stale,
}

enum Change {
    Guards(BTreeMap<String, Said>),
    /// Agent pods that run, by their node.
    Agents(BTreeMap<String, usize>),
    Time,
}

impl Fleet {
    /// Until dropped.
    pub(super) async fn run(self) {
        let guards =
            objects(Api::<GuardNode>::all(self.client.clone()), watcher::Config::default(), |node| Some(said(node)));
        let agents = watcher::Config::default().labels(AGENT_LABEL);
        let agents = objects(Api::<Pod>::all(self.client.clone()), agents, node_of);
        let ticks = tokio::time::interval(LOOK);
        let mut changes = stream::select_all([
            guards.map(|known| Change::Guards(by_name(&known))).boxed(),
            agents.map(|known| Change::Agents(count(known.values()))).boxed(),
            stream::unfold(ticks, |mut ticks| async {
                ticks.tick().await;
                Some((Change::Time, ticks))
            })
            .boxed(),
        ]);
        let (mut guards, mut agents) = (None, None);
        let mut since: BTreeMap<String, Timestamp> = BTreeMap::new();
        let mut told: BTreeMap<String, Timestamp> = BTreeMap::new();
        while let Some(change) = changes.next().await {
            match change {
                Change::Guards(known) => guards = Some(known),
                Change::Agents(known) => agents = Some(known),
                Change::Time => {}
            }
            let (Some(guards), Some(agents)) = (&guards, &agents) else { continue };
            let now = Timestamp::now();
            self.count(guards, now);
            let unguarded = unguarded(guards, agents, now);
            since.retain(|node, _| unguarded.contains(node));
            for node in unguarded {
                since.entry(node).or_insert(now);
            }
            let lasting: Vec<_> =
                since.iter().filter(|(_, since)| age(**since, now) >= PATIENCE).map(|(node, _)| node.clone()).collect();
            self.metrics.nodes_unguarded.set(i64::try_from(lasting.len()).unwrap_or(i64::MAX));
            told.retain(|node, at| since.contains_key(node) && age(*at, now) < EVENT_INTERVAL);
            for node in lasting {
                if told.insert(node.clone(), now).is_none() {
                    self.tell(&node, agents.get(&node).copied().unwrap_or(0)).await;
                }
            }
        }
    }

    fn count(&self, guards: &BTreeMap<String, Said>, now: Timestamp) {
        for (label, state) in [("ready", State::Ready), ("waiting", State::Waiting), ("stale", State::Stale)] {
            let number = guards.values().filter(|said| said.state(now) == state).count();
            self.metrics.nodes.with_label_values(&[label]).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    async fn tell(&self, node: &str, agents: usize) {
        let message = format!(
            "{agents} agent pods are on this node, and no guard has been heard of here for a while. They have no access to the API server. Look \
             at the pod of the DaemonSet on this node."
        );
        tracing::warn!(node, agents, "agent pods on a node without a live guard");
        let reporter =
            Reporter { controller: "egressguard.io/control".to_owned(), instance: Some(self.identity.clone()) };
        let recorder = Recorder::new(self.client.clone(), reporter);
        let event = Event {
            type_: EventType::Warning,
            reason: "AgentsWithoutGuard".to_owned(),
            note: Some(message),
            action: "Watch".to_owned(),
            secondary: None,
        };
        let uid = match Api::<Node>::all(self.client.clone()).get_opt(node).await {
            Ok(object) => object.and_then(|object| object.metadata.uid),
            Err(error) => {
                tracing::debug!(%error, "the Node can't be read");
                None
            }
        };
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            uid,
            ..ObjectReference::default()
        };
        match tokio::time::timeout(TIMEOUT, recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an event could not be published"),
            Err(_) => tracing::warn!("an event could not be published in time"),
        }
    }
}

impl Said {
    fn state(&self, now: Timestamp) -> State {
        match self.last_seen {
            Some(at) if age(at, now) < SILENCE => {
                if self.ready {
                    State::Ready
                } else {
                    State::Waiting
                }
            }
            _ => State::Stale,
        }
    }
}

fn said(node: &GuardNode) -> Said {
    let status = node.status.as_ref();
    Said {
        last_seen: status.and_then(|status| status.last_seen.as_ref()).map(|time| time.0),
        ready: status.and_then(|status| status.condition("Ready")).is_some_and(|ready| ready.status == "True"),
    }
}

/// Pods that have ended need no guard.
fn node_of(pod: &Pod) -> Option<String> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    pod.spec.as_ref()?.node_name.clone().filter(|_| !ended)
}

fn by_name(known: &BTreeMap<(String, String), Said>) -> BTreeMap<String, Said> {
    known.iter().map(|((_, name), said)| (name.clone(), said.clone())).collect()
}

fn count<'a>(nodes: impl Iterator<Item = &'a String>) -> BTreeMap<String, usize> {
    nodes.fold(BTreeMap::new(), |mut counts, node| {
        *counts.entry(node.clone()).or_default() += 1;
        counts
    })
}

fn unguarded(guards: &BTreeMap<String, Said>, agents: &BTreeMap<String, usize>, now: Timestamp) -> BTreeSet<String> {
    let is_alive = |node: &String| guards.get(node).is_some_and(|said| said.state(now) != State::Stale);
    agents.keys().filter(|node| !is_alive(node)).cloned().collect()
}

/// Zero where clocks differ.
fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_on_a_node_whose_guard_is_silent_or_was_never_there_are_unguarded() {
        let now = Timestamp::now();
        let ago = |duration: Duration| Some(now - jiff(duration));
        let guards = BTreeMap::from([
            ("alive".to_owned(), Said { last_seen: ago(HEARTBEAT), ready: true }),
            ("waiting".to_owned(), Said { last_seen: ago(HEARTBEAT), ready: false }),
            ("silent".to_owned(), Said { last_seen: ago(2 * SILENCE), ready: true }),
            ("new".to_owned(), Said { last_seen: None, ready: false }),
        ]);
        let agents = ["alive", "waiting", "silent", "never"].map(|node| (node.to_owned(), 1)).into();
        assert_eq!(unguarded(&guards, &agents, now), ["never", "silent"].map(str::to_owned).into());
        assert_eq!(guards["alive"].state(now), State::Ready);
        assert_eq!(guards["waiting"].state(now), State::Waiting);
        assert_eq!(guards["new"].state(now), State::Stale);
    }

    #[test]
    fn a_guard_whose_clock_is_ahead_is_alive() {
        let now = Timestamp::now();
        let ahead = Said { last_seen: Some(now + jiff(Duration::from_hours(1))), ready: true };
        assert_eq!(ahead.state(now), State::Ready);
    }

    fn jiff(duration: Duration) -> k8s_openapi::jiff::SignedDuration {
        duration.try_into().unwrap()
    }
}
