//! The compiled policies.

use std::collections::BTreeMap;

use guard_api::{AGENT_LABEL, GuardPolicy, Subject};
use guard_identity::{Caller, Workload};
use guard_kube_request::RequestInfo;

use crate::compile::compile;
use crate::decision::{Action, Decision};
use crate::error::PolicyError;
use crate::rule::Rule;
use crate::yaml;

/// Policies, ready to decide. The default has none, and allows everything.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    policies: Vec<Policy>,
}

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// Labels that the workload must have with these values.
    pub(crate) selector: BTreeMap<String, String>,
    /// Empty: everybody.
    pub(crate) subjects: Vec<Subject>,
    pub(crate) rules: Vec<Rule>,
}

impl Engine {
    /// Compiles policies. The first that does not compile is the error; its names say which.
    pub fn compile(policies: Vec<GuardPolicy>) -> Result<Self, PolicyError> {
        compile(policies).map(|policies| Self { policies }).map_err(|error| *error.error)
    }

    /// Reads and compiles a YAML (or JSON) file's text of any number of `GuardPolicy` documents; `file_name` is for the errors.
    pub fn from_yaml(text: &str, file_name: &str) -> Result<Self, PolicyError> {
        let policies = yaml::parse(text, file_name)?;
        let policies = compile(policies).map_err(|error| yaml::locate(text, file_name, error))?;
        Ok(Self { policies })
    }

    /// Whether there is no policy at all, so that everything is allowed.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Decides on one request. A denial by any policy stands; in each policy the first matching rule counts.
    pub fn decide(&self, workload: &Workload, caller: &Caller, request: &RequestInfo) -> Decision {
        let applicable = self.policies.iter().filter(|policy| policy.applies_to(workload, caller));
        for policy in applicable {
            if let Some(rule) = policy.rules.iter().find(|rule| rule.matches(request)) {
                return Decision {
                    action: Action::Deny,
                    policy: Some(policy.name.clone()),
                    rule: Some(rule.name.clone()),
                    message: rule.message.clone(),
                };
            }
        }
        Decision::UNMATCHED
    }
}

impl Policy {
    fn applies_to(&self, workload: &Workload, caller: &Caller) -> bool {
        self.selector.iter().all(|(label, value)| has_label(workload, label, value))
            && (self.subjects.is_empty() || self.subjects.iter().any(|subject| is_subject(subject, caller)))
    }
}

/// The agent label may be the namespace's rather than the pod's own; the class is what counts.
fn has_label(workload: &Workload, label: &str, value: &str) -> bool {
    if label == AGENT_LABEL {
        return workload.class.as_str() == value;
    }
    workload.labels.get(label).is_some_and(|found| found == value)
}

fn is_subject(subject: &Subject, caller: &Caller) -> bool {
    subject.users.contains(&caller.username) || subject.groups.iter().any(|group| caller.groups.contains(group))
}
