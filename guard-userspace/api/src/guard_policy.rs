//! `GuardPolicy`: what agents may do.
//!
//! Unknown fields are errors: a misspelt restriction must not be silently none.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::anything;

/// One policy. Cluster-scoped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardPolicy {
    /// [`crate::API_VERSION`].
    pub api_version: String,
    /// [`crate::GUARD_POLICY_KIND`].
    pub kind: String,
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: GuardPolicySpec,
}

/// The part of `ObjectMeta` that means something here; the API server's other fields are accepted and ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Name of the policy, as denials quote it.
    pub name: String,
}

/// What a policy says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "egressguard.io",
        version = "v1alpha1",
        kind = "GuardPolicy",
        root = "GuardPolicyObject",
        doc = "What agents may do. In one policy the first rule that matches decides.",
        printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}"#,
        printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardPolicySpec {
    /// Which agent pods it is for; all, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Which identities it is for; all, if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Subject>,
    /// Whether it is enforced.
    #[serde(default)]
    pub mode: Mode,
    /// CEL variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub variables: Option<Value>,
    /// The first that matches decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What responses hide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub masking: Option<Value>,
    /// What is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub recording: Option<Value>,
}

/// Kubernetes' `LabelSelector`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels that the pod must have with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Set-based requirements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub match_expressions: Option<Value>,
}

/// An identity matches if it is one of `users` or in one of `groups`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// User names: `system:serviceaccount:NAMESPACE:NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Group names: `system:serviceaccounts:NAMESPACE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// Whether a policy is enforced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// What it denies is denied.
    #[default]
    Enforce,
    /// It decides, is recorded, and everything passes.
    Audit,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Unique in its policy, as denials quote it.
    pub name: String,
    /// Which requests; all, if absent.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// CEL expressions that must hold besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub match_conditions: Option<Value>,
    /// Least risk (0 to 100) of the requests that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub risk_at_least: Option<Value>,
    /// What then happens.
    pub action: Action,
    /// What the agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// CEL expression that makes the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub message_expression: Option<Value>,
    /// Who must approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub approval: Option<Value>,
}

/// A request matches if it matches each field that is present.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Kubernetes' verbs, or `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbs: Option<Vec<String>>,
    /// `pods`, `deployments.apps`, `pods/exec`, `deployments.apps/scale`, `*.apps`, `pods/*`, or `*` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// Namespaces, `*` in them standing for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Names of objects, `*` in them standing for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// It is forwarded.
    Allow,
    /// It is answered with 403.
    Deny,
    /// It is held until somebody decides.
    RequireApproval,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(spec: &str) -> Result<GuardPolicy, serde_json::Error> {
        let text = format!(
            r#"{{"apiVersion":"egressguard.io/v1alpha1","kind":"GuardPolicy","metadata":{{"name":"p","uid":"1"}},"spec":{spec}}}"#
        );
        serde_json::from_str(&text)
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        for spec in [
            r#"{"rule":[]}"#,
            r#"{"rules":[{"name":"r","action":"Deny","match":{"namespace":["a"]}}]}"#,
            r#"{"rules":[{"name":"r","action":"Deny","matches":{}}]}"#,
            r#"{"rules":[{"name":"r","action":"deny"}]}"#,
            r#"{"mode":"enforce"}"#,
        ] {
            assert!(parse(spec).is_err(), "{spec}");
        }
    }

    #[test]
    fn a_policy_survives_being_written_and_read() {
        let policy =
            parse(r#"{"rules":[{"name":"r","action":"Deny","match":{"verbs":["delete"]},"message":"no"}]}"#).unwrap();
        let written = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<GuardPolicy>(&written).unwrap(), policy);
    }

    #[test]
    fn what_is_absent_is_enforced_for_all() {
        let policy = parse("{}").unwrap();
        assert_eq!((policy.spec.mode, policy.spec.selector, policy.spec.rules.len()), (Mode::Enforce, None, 0));
    }
}
