//! Which class a pod may be of, and where.

use guard_api::AGENT_LABEL;

use super::{ALWAYS, CREATED, Rule, about_pod};
use crate::expression::{Test, fact, item, settings};
use crate::facts::{namespace_class, own_class};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        about_pod(
            "agent-label",
            CREATED,
            own_class().present(),
            "this namespace makes its pods agents, and the pod has no label egressguard.io/agent, which admission gives it: \
             check that the guard's mutating policy, or its webhook, is there and has its binding",
        ),
        about_pod(
            "class-name",
            ALWAYS,
            own_class().absent().or(!own_class().is("")),
            "the label egressguard.io/agent names no class: give it a value, such as the agent's name",
        ),
        about_pod(
            "class-of-namespace",
            ALWAYS,
            Test::Any(vec![
                own_class().absent(),
                namespace_class().absent(),
                own_class().same(namespace_class()),
                settings("classes").some("k", item("k").at("name").same(fact("class")).and(is_here())),
            ]),
            "the namespace's label egressguard.io/agent names another class than the pod's: remove the pod's label, or list \
             this namespace or the pod's ServiceAccount in agents.classes of the guard's chart",
        ),
        about_pod(
            "class-place",
            ALWAYS,
            settings("classes")
                .every("k", Test::Any(vec![!item("k").at("name").same(fact("class")), is_free(), is_here()])),
            "the class that egressguard.io/agent names is tied to other namespaces or ServiceAccounts: use another class, or \
             add this namespace or the pod's ServiceAccount to agents.classes of the guard's chart",
        ),
        about_pod(
            "guard-namespace",
            ALWAYS,
            !fact("home").same(settings("guardNamespace")),
            "agents don't run in the guard's own namespace, where its keys and accounts are: run the pod in another namespace",
        ),
    ]
}

/// The label's name is part of the sentences above.
const _: () = assert!(matches!(AGENT_LABEL.as_bytes(), b"egressguard.io/agent"));

/// The class `k` is tied to this namespace or to the pod's account.
fn is_here() -> Test {
    fact("home").among(item("k").at("namespaces")).or(fact("account").among(item("k").at("serviceAccounts")))
}

/// The class `k` is tied to nothing.
fn is_free() -> Test {
    let nothing = |list: &str| item("k").at(list).every("x", !item("x").present());
    nothing("namespaces").and(nothing("serviceAccounts"))
}
