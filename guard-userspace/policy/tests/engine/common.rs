//! A workload, its caller, and policies of one rule.

use std::collections::BTreeMap;

use guard_identity::{Caller, PodIdentity, Workload, WorkloadId};
use guard_policy::{Action, Decision, Engine};

pub(crate) fn workload() -> Workload {
    Workload {
        id: WorkloadId(1),
        pod: PodIdentity {
            namespace: "agents".to_owned(),
            name: "agent-0".to_owned(),
            uid: "4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11".parse().expect("a uid"),
            service_account: "agent".to_owned(),
            node: "node-1".to_owned(),
        },
        class: "chatgpt".parse().expect("a class"),
        labels: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
    }
}

pub(crate) fn caller() -> Caller {
    Caller::service_account("agents", "agent", "7d6d7ad0-4c3c-4f0e-9f3e-111111111111")
}

/// A policy named `p`; `spec` is YAML in flow style without its braces.
pub(crate) fn policy(spec: &str) -> String {
    format!("apiVersion: egressguard.io/v1alpha1\nkind: GuardPolicy\nmetadata: {{name: p}}\nspec: {{{spec}}}\n")
}

/// The engine of a policy with one denying rule `r`.
pub(crate) fn denying(matches: &str) -> Engine {
    Engine::from_yaml(&policy(&format!("rules: [{{name: r, action: Deny, match: {{{matches}}}}}]")), "test.yaml")
        .expect("a policy")
}

pub(crate) fn decide(engine: &Engine, method: &str, target: &str) -> Decision {
    let request = guard_kube_request::describe(method, target).expect("a request");
    engine.decide(&workload(), &caller(), &request)
}

pub(crate) fn denies(engine: &Engine, method: &str, target: &str) -> bool {
    decide(engine, method, target).action == Action::Deny
}
