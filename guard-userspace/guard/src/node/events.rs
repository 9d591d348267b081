//! Kubernetes events on agent pods: few, gathered, and each says what to do.
//!
//! An agent can cause any number of them. So each kind on each pod is published at once the first time, then at most once in a while
//! with the count of what came meanwhile; what is held is bounded.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use guard_identity::{PodIdentity, PodUid};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::Notify;

/// Between two events of one kind on one pod.
const INTERVAL: Duration = Duration::from_mins(1);

/// Kinds of events that are held for all pods together.
const MAX_HELD: usize = 1024;

/// The API server's limit on an event's note, in bytes.
const MAX_NOTE: usize = 1024;

/// Who the events say they are from.
const CONTROLLER: &str = "egressguard.io/node";

/// Longest publishing of one event.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes notes from anywhere; clones share what is held.
#[derive(Clone, Default)]
pub(super) struct Events {
    held: Arc<Mutex<Held>>,
    wake: Arc<Notify>,
}

/// What is worth an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    reason: &'static str,
    message: String,
    warning: bool,
}

/// What was noted and not published yet, and when its kind was published last.
#[derive(Default)]
struct Held(HashMap<(PodUid, &'static str), Kind>);

struct Kind {
    pod: PodIdentity,
    waiting: Option<Note>,
    /// How often it was noted since it was published.
    count: u64,
    published: Option<Instant>,
}

impl Note {
    /// Something that a person should look at.
    pub(super) fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), warning: true }
    }

    /// Something good to know.
    pub(super) fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), warning: false }
    }
}

impl Events {
    /// Holds a note for publishing; returns at once.
    pub(super) fn note(&self, pod: &PodIdentity, note: Note) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.add(pod, note);
        drop(held);
        self.wake.notify_one();
    }

    /// Publishes until dropped.
    pub(super) async fn run(self, client: Client, node: &str) {
        let recorder =
            Recorder::new(client, Reporter { controller: CONTROLLER.to_owned(), instance: Some(node.to_owned()) });
        loop {
            let (due, next) = self.held.lock().unwrap_or_else(PoisonError::into_inner).due(Instant::now());
            for (pod, note) in due {
                publish(&recorder, &pod, note).await;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(next) => {}
            }
        }
    }
}

impl Held {
    fn add(&mut self, pod: &PodIdentity, note: Note) {
        let key = (pod.uid.clone(), note.reason);
        if self.0.len() >= MAX_HELD && !self.0.contains_key(&key) {
            return;
        }
        let kind =
            self.0.entry(key).or_insert_with(|| Kind { pod: pod.clone(), waiting: None, count: 0, published: None });
        kind.count += 1;
        kind.waiting = Some(note);
    }

    /// What may be published now, and how long until the next look.
    fn due(&mut self, now: Instant) -> (Vec<(PodIdentity, Note)>, Duration) {
        let is_over = |published: Option<Instant>| published.is_none_or(|at| now.duration_since(at) >= INTERVAL);
        self.0.retain(|_, kind| kind.waiting.is_some() || !is_over(kind.published));
        let mut due = Vec::new();
        for kind in self.0.values_mut().filter(|kind| is_over(kind.published)) {
            let Some(mut note) = kind.waiting.take() else { continue };
            if kind.count > 1 {
                note.message = format!("{} ({} times since the last event)", note.message, kind.count);
            }
            (kind.count, kind.published) = (0, Some(now));
            due.push((kind.pod.clone(), note));
        }
        let next =
            self.0.values().filter_map(|kind| Some(INTERVAL.saturating_sub(now.duration_since(kind.published?)))).min();
        (due, next.unwrap_or(INTERVAL).max(Duration::from_millis(10)))
    }
}

async fn publish(recorder: &Recorder, pod: &PodIdentity, note: Note) {
    let reference = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name.clone()),
        namespace: Some(pod.namespace.clone()),
        uid: Some(pod.uid.to_string()),
        ..ObjectReference::default()
    };
    send(recorder, &reference, note, pod).await;
}

async fn send(recorder: &Recorder, reference: &ObjectReference, note: Note, about: impl Display) {
    let event = Event {
        type_: if note.warning { EventType::Warning } else { EventType::Normal },
        reason: note.reason.to_owned(),
        note: Some(shortened(note.message)),
        action: "Guard".to_owned(),
        secondary: None,
    };
    let failed = match tokio::time::timeout(PUBLISH_TIMEOUT, recorder.publish(&event, reference)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", PUBLISH_TIMEOUT.as_secs()),
    };
    tracing::warn!(%about, reason = event.reason, failed, "an event could not be published; may the guard create events?");
}

/// An event on the node itself, published at once.
pub(super) async fn of_node(client: &Client, node: &str, told: Note) {
    let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(node.to_owned()) };
    let recorder = Recorder::new(client.clone(), reporter);
    // The kubelet's own events name the node by its name as uid as well.
    let reference = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.to_owned()),
        uid: Some(node.to_owned()),
        ..ObjectReference::default()
    };
    send(&recorder, &reference, told, node).await;
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE - "…".len()).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodIdentity {
        PodIdentity {
            namespace: "a".to_owned(),
            name: "bot".to_owned(),
            uid: uid.parse().unwrap(),
            service_account: "default".to_owned(),
            node: "n1".to_owned(),
        }
    }

    fn messages(held: &mut Held, now: Instant) -> Vec<String> {
        let mut messages: Vec<_> = held.due(now).0.into_iter().map(|(_, note)| note.message).collect();
        messages.sort();
        messages
    }

    #[test]
    fn the_first_of_a_kind_is_published_at_once_and_the_rest_gathered() {
        let (mut held, start) = (Held::default(), Instant::now());
        held.add(&pod("1"), Note::warning("BypassAttempt", "first"));
        assert_eq!(messages(&mut held, start), ["first"]);
        for number in 0..500 {
            held.add(&pod("1"), Note::warning("BypassAttempt", format!("attempt {number}")));
        }
        assert!(messages(&mut held, start + INTERVAL / 2).is_empty());
        assert_eq!(messages(&mut held, start + INTERVAL), ["attempt 499 (500 times since the last event)"]);
        assert!(messages(&mut held, start + 3 * INTERVAL).is_empty());
    }

    #[test]
    fn pods_and_kinds_are_apart() {
        let (mut held, start) = (Held::default(), Instant::now());
        held.add(&pod("1"), Note::warning("BypassAttempt", "a"));
        held.add(&pod("2"), Note::warning("BypassAttempt", "b"));
        held.add(&pod("1"), Note::normal("AgentGuarded", "c"));
        assert_eq!(messages(&mut held, start), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let (mut held, start) = (Held::default(), Instant::now());
        for number in 0..2 * MAX_HELD {
            held.add(&pod(&number.to_string()), Note::warning("BypassAttempt", "x"));
        }
        assert_eq!(held.0.len(), MAX_HELD);
        assert_eq!(messages(&mut held, start).len(), MAX_HELD);
        held.due(start + INTERVAL);
        assert!(held.0.is_empty());
    }

    #[test]
    fn a_long_message_ends_at_a_character() {
        let message = shortened("ä".repeat(MAX_NOTE));
        assert!(message.len() <= MAX_NOTE && message.ends_with("ä…"), "{}", message.len());
    }
}
