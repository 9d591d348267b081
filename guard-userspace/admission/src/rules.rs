//! The rules: what they ask, of what, when, and the sentence that says why and what to change.

mod class;
mod containers;
mod gate;
mod live;
mod pod;
mod volumes;

use crate::expression::{Facts, Test, quoted};

/// What a pod must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name.
    pub rule: &'static str,
    /// Why, and what to change.
    pub message: String,
}

/// One rule.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) when: &'static [When],
    pub(crate) subject: Subject,
    /// About the item `it`, if the subject has items.
    pub(crate) holds: Test,
    pub(crate) message: &'static str,
}

/// When a rule applies. All but the first are facts of a policy on pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// A workload is applied: nobody is refused, but told.
    Template,
    /// An agent pod is created. This is what the stored pod is judged by as well.
    Created,
    /// A live pod becomes an agent's.
    Becoming,
    /// A live agent pod changes.
    Kept,
    /// It gets ephemeral containers; they are what is judged.
    Ephemeral,
}

/// What has to be safe on every way to an agent pod.
const ALWAYS: &[When] = &[When::Template, When::Created, When::Becoming, When::Ephemeral];
/// What a live pod is not asked for: it is cut off for having it.
const FROM_THE_START: &[When] = &[When::Template, When::Created];
/// What admission itself sets.
const SET: &[When] = &[When::Created, When::Ephemeral];
const CREATED: &[When] = &[When::Created];

/// Whom the message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Pod,
    Containers,
    Volumes,
}

/// The largest result of a `messageExpression`, in bytes; beyond it the API server shows the plain message.
const MAX_MESSAGE: usize = 5 * 1024;

/// All of them, in the order in which they are told.
pub(crate) fn all() -> Vec<Rule> {
    [live::rules(), class::rules(), pod::rules(), containers::rules(), volumes::rules(), gate::rules()]
        .into_iter()
        .flatten()
        .collect()
}

/// Those that need to know the guard's CA.
pub(crate) fn about_ca() -> Vec<Rule> {
    gate::ca_rules()
}

/// Those that apply on any of these occasions, by the facts, and are broken.
pub(crate) fn broken(facts: &Facts) -> Vec<Violation> {
    violations(facts, |rule| rule.when.iter().any(|when| when.fact().is_some_and(|name| facts.is(name))))
}

/// Those that a template breaks.
pub(crate) fn broken_by_template(facts: &Facts) -> Vec<Violation> {
    violations(facts, |rule| rule.when.contains(&When::Template))
}

fn violations(facts: &Facts, applies: impl Fn(&Rule) -> bool) -> Vec<Violation> {
    let broken = |rule: &Rule| {
        let message = rule.broken(facts)?;
        Some(Violation { rule: rule.name, message })
    };
    all().iter().chain(&about_ca()).filter(|rule| applies(rule)).filter_map(broken).collect()
}

impl When {
    /// The fact of a policy on pods.
    pub(crate) fn fact(self) -> Option<&'static str> {
        match self {
            When::Template => None,
            When::Created => Some("created"),
            When::Becoming => Some("becoming"),
            When::Kept => Some("kept"),
            When::Ephemeral => Some("ephemeral"),
        }
    }
}

impl Subject {
    /// The list that the rule goes through, and what its items are called.
    fn items(self) -> Option<(&'static str, &'static str)> {
        match self {
            Subject::Pod => None,
            Subject::Containers => Some(("containers", "container")),
            Subject::Volumes => Some(("volumes", "volume")),
        }
    }
}

impl Rule {
    /// What is wrong, if anything is.
    fn broken(&self, facts: &Facts) -> Option<String> {
        let Some((list, noun)) = self.subject.items() else {
            return (!self.holds.holds(facts)).then(|| self.message.to_owned());
        };
        let items = crate::facts::list(facts.get(list));
        let bad: Vec<&str> = items
            .iter()
            .filter(|it| !self.holds.holds_for("it", it, facts))
            .map(|it| it["name"].as_str().unwrap_or_default())
            .collect();
        let named = format!("{} ({noun} {})", self.message, bad.join(", "));
        (!bad.is_empty()).then(|| if named.len() > MAX_MESSAGE { self.message.to_owned() } else { named })
    }

    /// The CEL of a validation.
    pub(crate) fn expression(&self) -> String {
        match self.subject.items() {
            None => self.holds.cel(),
            Some((list, _)) => format!("variables.{list}.all(it, {})", self.holds.cel()),
        }
    }

    /// The CEL of its message, where that names something.
    pub(crate) fn message_expression(&self) -> Option<String> {
        let (list, noun) = self.subject.items()?;
        Some(format!(
            "{} + variables.{list}.filter(it, !({})).map(it, string(it.name)).join(\", \") + \")\"",
            quoted(&format!("{} ({noun} ", self.message)),
            self.holds.cel()
        ))
    }
}

/// A rule about the pod as a whole.
fn about_pod(name: &'static str, when: &'static [When], holds: Test, message: &'static str) -> Rule {
    Rule { name, when, subject: Subject::Pod, holds, message }
}

/// A rule about each container, of whatever kind.
fn about_containers(name: &'static str, when: &'static [When], holds: Test, message: &'static str) -> Rule {
    Rule { name, when, subject: Subject::Containers, holds, message }
}

/// A rule about each volume.
fn about_volumes(name: &'static str, when: &'static [When], holds: Test, message: &'static str) -> Rule {
    Rule { name, when, subject: Subject::Volumes, holds, message }
}
