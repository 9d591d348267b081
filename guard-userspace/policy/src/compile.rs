//! From a `GuardPolicy` to what the engine runs, refusing all that it could not enforce.

use std::collections::{BTreeMap, BTreeSet};

use guard_api::{
    API_VERSION, Action, GUARD_POLICY_KIND, GuardPolicy, LabelSelector, Match, Mode, Rule as ApiRule, Subject,
};

use crate::engine::Policy;
use crate::error::PolicyError;
use crate::pattern::{Glob, ResourcePattern};
use crate::rule::Rule;

/// Kubernetes' verbs of requests, and the methods of paths that are no resources.
const VERBS: [&str; 14] = [
    "*",
    "create",
    "delete",
    "deletecollection",
    "get",
    "head",
    "list",
    "options",
    "patch",
    "post",
    "proxy",
    "put",
    "update",
    "watch",
];

/// An error, and where it is: by index, since names may be missing or double.
#[derive(Debug)]
pub(crate) struct CompileError {
    pub(crate) policy: usize,
    pub(crate) rule: Option<usize>,
    pub(crate) error: Box<PolicyError>,
}

/// What is wrong with a policy, in which of its rules.
struct Wrong {
    rule: Option<usize>,
    reason: String,
}

pub(crate) fn compile(policies: Vec<GuardPolicy>) -> Result<Vec<Policy>, CompileError> {
    let mut names = BTreeSet::new();
    let mut compiled = Vec::with_capacity(policies.len());
    for (index, policy) in policies.into_iter().enumerate() {
        let place = place_of(&policy);
        let unique = names.insert(policy.metadata.name.clone());
        let result =
            if unique { compile_policy(policy) } else { Err(wrong("there is another policy of this name".to_owned())) };
        compiled.push(result.map_err(|wrong| place.error(index, wrong))?);
    }
    Ok(compiled)
}

/// Names, kept for an error while the policy is taken apart.
struct Place {
    policy: String,
    rules: Vec<String>,
}

fn place_of(policy: &GuardPolicy) -> Place {
    Place {
        policy: policy.metadata.name.clone(),
        rules: policy.spec.rules.iter().map(|rule| rule.name.clone()).collect(),
    }
}

impl Place {
    fn error(&self, policy: usize, wrong: Wrong) -> CompileError {
        let named =
            |name: &str, index: usize| if name.is_empty() { format!("no. {}", index + 1) } else { name.to_owned() };
        let rule = wrong.rule.and_then(|index| self.rules.get(index).map(|name| named(name, index)));
        let error = PolicyError {
            policy: Some(named(&self.policy, policy)),
            rule,
            reason: wrong.reason,
            ..PolicyError::default()
        };
        CompileError { policy, rule: wrong.rule, error: Box::new(error) }
    }
}

fn wrong(reason: String) -> Wrong {
    Wrong { rule: None, reason }
}

/// What to say of an object of another kind or version.
pub(crate) fn foreign(api_version: &str, kind: &str) -> Option<String> {
    (api_version != API_VERSION || kind != GUARD_POLICY_KIND)
        .then(|| format!("this is {kind} of {api_version}; {GUARD_POLICY_KIND} of {API_VERSION} is expected"))
}

fn compile_policy(policy: GuardPolicy) -> Result<Policy, Wrong> {
    let GuardPolicy { api_version, kind, metadata, spec } = policy;
    if let Some(reason) = foreign(&api_version, &kind) {
        return Err(wrong(reason));
    }
    if metadata.name.is_empty() {
        return Err(wrong("metadata.name is empty".to_owned()));
    }
    let not_yet = [
        ("spec.variables", spec.variables.is_some()),
        ("spec.masking", spec.masking.is_some()),
        ("spec.recording", spec.recording.is_some()),
        ("spec.mode Audit", spec.mode == Mode::Audit),
    ];
    refuse_unenforceable(&not_yet).map_err(wrong)?;
    let selector = selector(spec.selector).map_err(wrong)?;
    subjects(&spec.subjects).map_err(wrong)?;

    let mut names = BTreeSet::new();
    let mut rules = Vec::with_capacity(spec.rules.len());
    for (index, rule) in spec.rules.into_iter().enumerate() {
        let unique = names.insert(rule.name.clone());
        let compiled = if unique {
            compile_rule(rule)
        } else {
            Err("there is another rule of this name in the policy".to_owned())
        };
        rules.push(compiled.map_err(|reason| Wrong { rule: Some(index), reason })?);
    }
    Ok(Policy { name: metadata.name, selector, subjects: spec.subjects, rules })
}

fn compile_rule(rule: ApiRule) -> Result<Rule, String> {
    if rule.name.is_empty() {
        return Err("its name is empty; denials quote it".to_owned());
    }
    let not_yet = [
        ("matchConditions", rule.match_conditions.is_some()),
        ("riskAtLeast", rule.risk_at_least.is_some()),
        ("messageExpression", rule.message_expression.is_some()),
        ("approval", rule.approval.is_some()),
        ("action Allow", rule.action == Action::Allow),
        ("action RequireApproval", rule.action == Action::RequireApproval),
    ];
    refuse_unenforceable(&not_yet)?;
    let Match { verbs, resources, namespaces, names } = rule.matches;
    Ok(Rule {
        name: rule.name,
        verbs: list("verbs", verbs, known_verb)?,
        resources: list("resources", resources, ResourcePattern::parse)?,
        namespaces: list("namespaces", namespaces, Glob::parse)?,
        names: list("names", names, Glob::parse)?,
        message: rule.message,
    })
}

fn refuse_unenforceable(fields: &[(&str, bool)]) -> Result<(), String> {
    match fields.iter().find(|(_, present)| *present) {
        None => Ok(()),
        Some((field, _)) => Err(format!(
            "{field} cannot be enforced by this version of the guard, and is not ignored; take it out, or upgrade the guard"
        )),
    }
}

fn selector(selector: Option<LabelSelector>) -> Result<BTreeMap<String, String>, String> {
    let LabelSelector { match_labels, match_expressions } = selector.unwrap_or_default();
    refuse_unenforceable(&[("spec.selector.matchExpressions", match_expressions.is_some())])?;
    Ok(match_labels)
}

fn subjects(subjects: &[Subject]) -> Result<(), String> {
    if subjects.iter().any(|subject| subject.users.is_empty() && subject.groups.is_empty()) {
        return Err(
            "spec.subjects has an entry without users and groups, which nobody is; take it out to mean everybody"
                .to_owned(),
        );
    }
    Ok(())
}

/// Parses each entry. An empty list would match nothing where its absence matches everything: nobody means that.
fn list<T>(
    field: &str,
    entries: Option<Vec<String>>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Vec<T>>, String> {
    let Some(entries) = entries else {
        return Ok(None);
    };
    if entries.is_empty() {
        return Err(format!("match.{field} is empty and would match nothing; take it out to match everything"));
    }
    let parsed: Result<Vec<T>, String> = entries.iter().map(|entry| parse(entry)).collect();
    parsed.map(Some).map_err(|reason| format!("match.{field}: {reason}"))
}

fn known_verb(verb: &str) -> Result<String, String> {
    if VERBS.contains(&verb) {
        return Ok(verb.to_owned());
    }
    let lower = verb.to_ascii_lowercase();
    let hint = if VERBS.contains(&lower.as_str()) {
        format!("write {lower}")
    } else {
        format!("one of {} is expected", VERBS.join(", "))
    };
    Err(format!("{verb:?} is no verb; {hint}"))
}
