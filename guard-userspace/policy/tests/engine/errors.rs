//! What does not compile, and how it is told.

use crate::common::policy;
use guard_policy::{Engine, PolicyError};
use proptest::prelude::*;

fn error(text: &str) -> PolicyError {
    Engine::from_yaml(text, "deny.yaml").map(|_| ()).expect_err(text)
}

/// A policy in block style whose rule `r` begins in line 6, column 7.
fn with_rule(rest: &str) -> String {
    let head =
        "apiVersion: egressguard.io/v1alpha1\nkind: GuardPolicy\nmetadata: {name: p}\nspec:\n  rules:\n    - name: r\n";
    rest.lines().fold(head.to_owned(), |text, line| text + "      " + line + "\n")
}

#[test]
fn an_unknown_field_is_told_with_its_line_and_column() {
    let error = error(&with_rule("action: Deny\nmatch:\n  verb: [get]"));
    assert_eq!((error.file.as_deref(), error.line, error.column), (Some("deny.yaml"), Some(9), Some(9)), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("deny.yaml:9:9: "), "{text}");
    assert!(text.contains("verb") && text.contains("verbs"), "{text}");
}

#[test]
fn broken_yaml_is_told_with_its_line() {
    let error = error("apiVersion: egressguard.io/v1alpha1\nkind: [GuardPolicy\n");
    assert!(error.line.is_some_and(|line| line >= 2), "{error}");
}

#[test]
fn a_rule_that_does_not_compile_is_told_with_its_place_and_name() {
    let error = error(&with_rule("action: Deny\nmatch: {verbs: [Delete]}"));
    assert_eq!(error.to_string(), "deny.yaml:6:7: policy p, rule r: match.verbs: \"Delete\" is no verb; write delete");
}

#[test]
fn what_cannot_be_enforced_yet_is_refused_by_name() {
    for (rest, named) in [
        ("action: Allow", "action Allow"),
        ("action: RequireApproval", "action RequireApproval"),
        ("action: Deny\nmatchConditions: [{name: c, expression: 'true'}]", "matchConditions"),
        ("action: Deny\nriskAtLeast: 60", "riskAtLeast"),
        ("action: Deny\nmessageExpression: \"'no'\"", "messageExpression"),
        ("action: Deny\napproval: {required: 1}", "approval"),
    ] {
        let error = error(&with_rule(rest));
        assert!(error.reason.starts_with(named) && error.reason.contains("not ignored"), "{error}");
        assert_eq!((error.line, error.rule.as_deref()), (Some(6), Some("r")), "{error}");
    }
    for (spec, named) in [
        ("mode: Audit", "spec.mode Audit"),
        ("masking: {mode: Enforce}", "spec.masking"),
        ("recording: {bodies: Masked}", "spec.recording"),
        ("variables: []", "spec.variables"),
        ("selector: {matchExpressions: []}", "spec.selector.matchExpressions"),
    ] {
        let error = error(&policy(spec));
        assert!(error.reason.starts_with(named), "{error}");
        assert_eq!((error.line, error.policy.as_deref(), error.rule.as_deref()), (Some(3), Some("p"), None), "{error}");
    }
}

#[test]
fn what_would_match_nothing_or_something_else_is_refused() {
    for (rest, reason) in [
        ("action: Deny\nmatch: {verbs: []}", "match.verbs is empty"),
        ("action: Deny\nmatch: {resources: []}", "match.resources is empty"),
        ("action: Deny\nmatch: {resources: [Pods]}", "match.resources: \"Pods\" is no resource"),
        ("action: Deny\nmatch: {resources: [apps/v1/deployments]}", "match.resources"),
        ("action: Deny\nmatch: {namespaces: ['']}", "match.namespaces"),
        ("action: Deny\nmatch: {names: ['a?']}", "match.names"),
        ("action: Deny\nmatch: {verbs: [remove]}", "match.verbs: \"remove\" is no verb"),
    ] {
        let error = error(&with_rule(rest));
        assert!(error.reason.starts_with(reason), "{error}");
    }
    assert!(error(&policy("subjects: [{}]")).reason.contains("spec.subjects"));
}

#[test]
fn another_kind_version_or_name_is_refused() {
    for (from, to) in
        [("GuardPolicy", "NetworkPolicy"), ("v1alpha1", "v1"), ("name: p", "name: ''"), ("name: p", "labels: {}")]
    {
        let text = policy("").replace(from, to);
        assert!(Engine::from_yaml(&text, "deny.yaml").is_err(), "{text}");
    }
}

#[test]
fn another_kinds_fields_are_not_what_is_wrong_with_it() {
    let error = error("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n");
    assert_eq!(
        (error.line, error.reason.as_str()),
        (Some(2), "this is ConfigMap of v1; GuardPolicy of egressguard.io/v1alpha1 is expected")
    );
}

#[test]
fn two_of_a_name_are_refused() {
    let error = error(&format!("{}---\n{}", policy(""), policy("")));
    assert_eq!((error.line, error.policy.as_deref()), (Some(8), Some("p")), "{error}");
    let twice = policy("rules: [{name: r, action: Deny}, {name: r, action: Deny}]");
    assert!(Engine::from_yaml(&twice, "deny.yaml").unwrap_err().reason.contains("another rule of this name"));
    let key_twice = policy("mode: Enforce, mode: Audit");
    assert!(Engine::from_yaml(&key_twice, "deny.yaml").is_err());
}

#[test]
fn a_file_with_nothing_in_it_denies_nothing() {
    for text in ["", "---\n", "# nothing\n", "---\n---\n"] {
        assert!(Engine::from_yaml(text, "deny.yaml").is_ok(), "{text:?}");
    }
}

#[test]
fn size_depth_and_aliases_are_bounded() {
    let long = format!("# {}\n{}", "x".repeat(1 << 20), policy(""));
    assert!(error(&long).reason.contains("split it"));
    let deep = policy(&format!("masking: {}{}", "[".repeat(10_000), "]".repeat(10_000)));
    assert!(Engine::from_yaml(&deep, "deny.yaml").is_err());
    let mut laughs =
        "apiVersion: x\nkind: x\nmetadata: {name: p}\nspec:\n  masking:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            .to_owned();
    for level in 1..12 {
        let previous = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs = laughs + "    a" + &format!("{level}: &a{level} [{previous}]\n");
    }
    let started = std::time::Instant::now();
    assert!(Engine::from_yaml(&laughs, "deny.yaml").is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn the_error_of_an_engine_made_from_objects_names_policy_and_rule() {
    let policies: Vec<guard_api::GuardPolicy> = vec![guard_api::GuardPolicy {
        api_version: guard_api::API_VERSION.to_owned(),
        kind: guard_api::GUARD_POLICY_KIND.to_owned(),
        metadata: guard_api::Metadata { name: "p".to_owned() },
        spec: guard_api::GuardPolicySpec {
            rules: vec![guard_api::Rule {
                name: String::new(),
                matches: guard_api::Match::default(),
                match_conditions: None,
                risk_at_least: None,
                action: guard_api::Action::Deny,
                message: None,
                message_expression: None,
                approval: None,
            }],
            ..guard_api::GuardPolicySpec::default()
        },
    }];
    let error = Engine::compile(policies).unwrap_err();
    assert_eq!(error.to_string(), "policy p, rule no. 1: its name is empty; denials quote it");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\PC\n ]{0,200}", spec in "[a-zA-Z:{}\\[\\], *&'\"\n-]{0,80}") {
        let _ = Engine::from_yaml(&text, "deny.yaml");
        let _ = Engine::from_yaml(&policy(&spec), "deny.yaml");
    }
}
