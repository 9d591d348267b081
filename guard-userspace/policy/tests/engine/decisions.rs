//! What rules deny, and what they leave alone.

use crate::common::{caller, decide, denies, denying, policy, workload};
use guard_policy::{Action, Engine};

/// Each case: the rule's `match`, a request, whether it is denied.
fn assert_cases(matches: &str, cases: &[(&str, &str, bool)]) {
    let engine = denying(matches);
    for (method, target, denied) in cases {
        assert_eq!(denies(&engine, method, target), *denied, "{{{matches}}} {method} {target}");
    }
}

#[test]
fn the_deletion_of_a_namespace_is_denied_with_the_rules_words() {
    let engine = Engine::from_yaml(
        &policy(
            "rules: [{name: no-namespace-deletion, action: Deny, message: Namespaces are deleted by people., \
             match: {verbs: [delete, deletecollection], resources: [namespaces]}}]",
        ),
        "deny.yaml",
    )
    .unwrap();
    let decision = decide(&engine, "DELETE", "/api/v1/namespaces/production");
    assert_eq!(decision.action, Action::Deny);
    assert_eq!(decision.policy.as_deref(), Some("p"));
    assert_eq!(decision.rule.as_deref(), Some("no-namespace-deletion"));
    assert_eq!(decision.message.as_deref(), Some("Namespaces are deleted by people."));
    assert!(denies(&engine, "DELETE", "/api/v1/namespaces"));
    assert!(denies(&engine, "DELETE", "/api/v1/namespaces%2Fproduction/"));
    assert!(!denies(&engine, "GET", "/api/v1/namespaces/production"));
    assert!(!denies(&engine, "DELETE", "/api/v1/namespaces/production/pods/x"));
}

#[test]
fn what_nothing_matches_is_allowed_without_a_rule() {
    for engine in [Engine::default(), denying("verbs: [delete]")] {
        let decision = decide(&engine, "GET", "/api/v1/pods");
        assert_eq!((decision.action, decision.policy, decision.rule), (Action::Allow, None, None));
    }
}

#[test]
fn a_resource_is_of_its_group_and_without_its_subresources() {
    assert_cases(
        "resources: [secrets]",
        &[
            ("GET", "/api/v1/namespaces/a/secrets/x", true),
            ("GET", "/apis/example.com/v1/namespaces/a/secrets/x", false),
            ("GET", "/api/v1/namespaces/a/secrets/x/status", false),
            ("GET", "/version", false),
        ],
    );
    assert_cases(
        "resources: [deployments.apps]",
        &[
            ("GET", "/apis/apps/v1/namespaces/a/deployments", true),
            ("GET", "/apis/apps/v1beta1/namespaces/a/deployments", true),
            ("GET", "/apis/apps/v1/namespaces/a/deployments/x/scale", false),
            ("GET", "/api/v1/namespaces/a/deployments", false),
        ],
    );
}

#[test]
fn subresources_are_named_or_all_of_them() {
    assert_cases(
        "resources: [pods/exec, nodes/*, '*.batch', '*/scale']",
        &[
            ("POST", "/api/v1/namespaces/a/pods/x/exec?command=id", true),
            ("GET", "/api/v1/namespaces/a/pods/x/exec?command=id", true),
            ("GET", "/api/v1/namespaces/a/pods/x/log", false),
            ("GET", "/api/v1/nodes/n/proxy/run", true),
            ("GET", "/api/v1/nodes/n", false),
            ("GET", "/apis/batch/v1/jobs", true),
            ("GET", "/apis/batch/v1/namespaces/a/jobs/x/status", false),
            ("PUT", "/apis/apps/v1/namespaces/a/deployments/x/scale", true),
        ],
    );
}

#[test]
fn a_star_is_every_resource_and_no_other_path() {
    assert_cases(
        "resources: ['*']",
        &[
            ("GET", "/api/v1/namespaces/a/pods/x/log", true),
            ("GET", "/apis/apps/v1/deployments", true),
            ("GET", "/version", false),
        ],
    );
}

#[test]
fn a_rule_of_verbs_alone_is_for_every_path() {
    assert_cases(
        "verbs: [get, post]",
        &[("GET", "/version", true), ("POST", "/api/v1/pods", false), ("POST", "/version", true)],
    );
    assert_cases("verbs: ['*']", &[("GET", "/version", true), ("DELETE", "/api/v1/namespaces/x", true)]);
}

#[test]
fn a_method_without_a_verb_could_be_any() {
    assert_cases(
        "verbs: [delete], resources: [pods]",
        &[("delete", "/api/v1/namespaces/a/pods/x", true), ("HEAD", "/api/v1/pods", false)],
    );
}

#[test]
fn a_named_object_is_denied_in_every_collection_that_may_hold_it() {
    assert_cases(
        "resources: [secrets], names: ['db-*']",
        &[
            ("GET", "/api/v1/namespaces/a/secrets/db-1", true),
            ("GET", "/api/v1/namespaces/a/secrets/web", false),
            ("GET", "/api/v1/namespaces/a/secrets", true),
            ("GET", "/api/v1/secrets?watch=1", true),
            ("GET", "/api/v1/watch/namespaces/a/secrets", true),
            ("GET", "/api/v1/watch/namespaces/a/secrets/web", false),
            ("DELETE", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dweb", true),
            ("GET", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Ddb-1", true),
            ("GET", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dweb", false),
            ("GET", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dweb&limit=x", true),
        ],
    );
}

#[test]
fn the_name_of_what_is_created_is_in_its_body_and_could_be_the_denied_one() {
    assert_cases(
        "verbs: [create], resources: [secrets], names: [db]",
        &[("POST", "/api/v1/namespaces/a/secrets", true), ("POST", "/api/v1/namespaces/a/pods", false)],
    );
}

#[test]
fn a_namespace_is_denied_in_requests_across_all_of_them() {
    assert_cases(
        "namespaces: [kube-*]",
        &[
            ("GET", "/api/v1/namespaces/kube-system/pods/x", true),
            ("GET", "/api/v1/namespaces/a/pods/x", false),
            ("GET", "/api/v1/namespaces/a/pods", false),
            ("GET", "/api/v1/pods", true),
            ("GET", "/api/v1/pods?watch=true", true),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", true),
            ("GET", "/api/v1/namespaces//pods", true),
            ("DELETE", "/api/v1/namespaces/kube-system", true),
            ("GET", "/api/v1/namespaces", true),
            ("POST", "/api/v1/namespaces", true),
            ("GET", "/api/v1/nodes/n", false),
            ("GET", "/version", false),
        ],
    );
}

#[test]
fn the_first_matching_rule_gives_its_name_and_message() {
    let engine = Engine::from_yaml(
        &policy(
            "rules: [{name: a, action: Deny, match: {resources: [secrets]}}, {name: b, action: Deny, message: m, match: {verbs: [get]}}, \
             {name: c, action: Deny}]",
        ),
        "test.yaml",
    )
    .unwrap();
    for (target, rule) in [("/api/v1/namespaces/a/secrets/x", "a"), ("/api/v1/nodes/n", "b"), ("/api/v1/nodes", "c")] {
        assert_eq!(decide(&engine, "GET", target).rule.as_deref(), Some(rule), "{target}");
    }
}

#[test]
fn a_denial_by_any_policy_stands() {
    let two = format!(
        "{}---\n{}",
        policy("rules: [{name: r, action: Deny, match: {resources: [pods]}}]"),
        policy("rules: [{name: r, action: Deny, match: {resources: [nodes]}}]").replace("name: p", "name: q")
    );
    let engine = Engine::from_yaml(&two, "two.yaml").unwrap();
    assert_eq!(decide(&engine, "GET", "/api/v1/pods").policy.as_deref(), Some("p"));
    assert_eq!(decide(&engine, "GET", "/api/v1/nodes").policy.as_deref(), Some("q"));
    assert!(!denies(&engine, "GET", "/api/v1/services"));
}

#[test]
fn a_policy_is_for_the_workloads_that_it_selects() {
    for (labels, selected) in [
        ("egressguard.io/agent: chatgpt", true),
        ("egressguard.io/agent: chatgpt, team: blue", true),
        ("egressguard.io/agent: ci-bot", false),
        ("team: red", false),
        ("other: blue", false),
    ] {
        let text = policy(&format!("selector: {{matchLabels: {{{labels}}}}}, rules: [{{name: r, action: Deny}}]"));
        assert_eq!(denies(&Engine::from_yaml(&text, "test.yaml").unwrap(), "GET", "/version"), selected, "{labels}");
    }
}

#[test]
fn a_label_of_the_pod_cannot_pretend_another_class() {
    let text = policy("selector: {matchLabels: {egressguard.io/agent: chatgpt}}, rules: [{name: r, action: Deny}]");
    let engine = Engine::from_yaml(&text, "test.yaml").unwrap();
    let mut pretender = workload();
    pretender.labels.insert("egressguard.io/agent".to_owned(), "ci-bot".to_owned());
    let request = guard_kube_request::describe("GET", "/version").unwrap();
    assert_eq!(engine.decide(&pretender, &caller(), &request).action, Action::Deny);
}

#[test]
fn a_policy_is_for_its_subjects() {
    for (subjects, selected) in [
        ("{users: ['system:serviceaccount:agents:agent']}", true),
        ("{users: [somebody]}, {groups: ['system:serviceaccounts:agents']}", true),
        ("{groups: ['system:serviceaccounts:other']}", false),
        ("{users: ['system:serviceaccounts:agents']}", false),
    ] {
        let text = policy(&format!("subjects: [{subjects}], rules: [{{name: r, action: Deny}}]"));
        assert_eq!(denies(&Engine::from_yaml(&text, "test.yaml").unwrap(), "GET", "/version"), selected, "{subjects}");
    }
}
