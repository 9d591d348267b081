//! Admission: which APIs there are, and whether each policy of the guard is there with its bindings. The API server ignores a policy without one
//! in silence, and a binding whose policy is missing as well.

use std::collections::BTreeSet;

use guard_admission::policies::{self, Inputs};
use serde_json::Value;

use super::finding::{Finding, named};

/// The kinds of policies.
pub(super) const VALIDATING: &str = "ValidatingAdmissionPolicy";
pub(super) const MUTATING: &str = "MutatingAdmissionPolicy";

/// Minor version of Kubernetes that the chart needs.
const MINIMUM: u32 = 30;

pub(super) fn version(major: &str, minor: &str) -> Finding {
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    let found = format!("Kubernetes {major}.{digits}");
    match digits.parse::<u32>() {
        Ok(number) if major == "1" && number < MINIMUM => Finding::fail(
            "API server",
            found,
            format!("Kubernetes 1.{MINIMUM} or newer: the chart stands on ValidatingAdmissionPolicy v1"),
        ),
        _ => Finding::ok("API server", found),
    }
}

/// `kinds` of admissionregistration.k8s.io/v1 and certificates.k8s.io/v1.
pub(super) fn apis(kinds: &[String]) -> Vec<Finding> {
    let has = |kind: &str| kinds.iter().any(|known| known == kind);
    let mut findings = Vec::new();
    findings.push(if has("ValidatingAdmissionPolicy") {
        Finding::ok("validation", "ValidatingAdmissionPolicy v1")
    } else {
        Finding::warn(
            "validation",
            "no ValidatingAdmissionPolicy v1",
            "admission.mode=webhook: admission then needs control to run",
        )
    });
    findings.push(if has("MutatingAdmissionPolicy") {
        Finding::ok("mutation", "MutatingAdmissionPolicy v1")
    } else {
        Finding::warn(
            "mutation",
            "no MutatingAdmissionPolicy v1 (Kubernetes 1.36)",
            "nothing: admission.mode=auto takes the webhook of control; while control is away, no agent pod is admitted",
        )
    });
    findings.push(if has("ClusterTrustBundle") {
        Finding::ok("trust bundles", "ClusterTrustBundle v1")
    } else {
        Finding::warn(
            "trust bundles",
            "no ClusterTrustBundle v1 (Kubernetes 1.37)",
            "nothing: agent pods get the guard's CA by an annotation; after a change of the CA they have to be made anew within its overlap",
        )
    });
    findings
}

/// What is there of a kind of policy and of its bindings, by name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Policies {
    pub(super) policies: BTreeSet<String>,
    pub(super) bindings: BTreeSet<String>,
}

/// What the chart brings of a kind: by the same source as its templates.
pub(super) fn expected(kind: &str) -> Policies {
    let anything = Inputs { settings: "{}".to_owned(), guard_namespace: String::new(), exempt_namespaces: Value::Null };
    let objects = if kind == VALIDATING { policies::validating(&anything) } else { policies::mutating(&anything) };
    let mut expected = Policies::default();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if object["kind"] == kind {
            expected.policies.insert(name);
        } else {
            expected.bindings.insert(name);
        }
    }
    expected
}

/// Whether all that the chart brings of a kind is there. `found` are the guard's own.
pub(super) fn complete(kind: &'static str, expected: &Policies, found: &Policies) -> Finding {
    let again = "helm upgrade puts it back; who deleted it is in the API server's audit log";
    let missing =
        |wanted: &BTreeSet<String>, there: &BTreeSet<String>| wanted.difference(there).cloned().collect::<Vec<_>>();
    let policies = missing(&expected.policies, &found.policies);
    let bindings = missing(&expected.bindings, &found.bindings);
    if found.policies.is_empty() && found.bindings.is_empty() && kind == MUTATING {
        return Finding::ok("policies", format!("no {kind}: admission is the webhook's"));
    }
    match (policies.as_slice(), bindings.as_slice()) {
        ([], []) => Finding::ok("policies", format!("{} of kind {kind}, each with its bindings", found.policies.len())),
        ([], bindings) => {
            let found = format!("{kind} without a binding, so without effect; missing: {}", named(bindings));
            Finding::fail("policies", found, again)
        }
        (policies, _) => Finding::fail("policies", format!("missing of kind {kind}: {}", named(policies)), again),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_policy_without_a_binding_and_one_that_is_missing_are_found() {
        for kind in [VALIDATING, MUTATING] {
            let all = expected(kind);
            assert!(!all.policies.is_empty() && all.bindings.len() >= all.policies.len(), "{all:?}");
            assert_eq!(complete(kind, &all, &all).status, Status::Ok);
            let last = all.bindings.last().unwrap().clone();
            let mut unbound = all.clone();
            unbound.bindings.remove(&last);
            let found = complete(kind, &all, &unbound);
            assert!(found.status == Status::Fail && found.found.contains(&last), "{found:?}");
            let mut gone = all.clone();
            let first = gone.policies.pop_first().unwrap();
            let found = complete(kind, &all, &gone);
            assert!(found.status == Status::Fail && found.found.contains(&first), "{found:?}");
        }
        assert_eq!(complete(VALIDATING, &expected(VALIDATING), &Policies::default()).status, Status::Fail);
        assert_eq!(complete(MUTATING, &expected(MUTATING), &Policies::default()).status, Status::Ok);
    }

    #[test]
    fn each_api_that_is_missing_says_what_is_done_without_it() {
        assert!(apis(&[]).iter().all(|one| one.status == Status::Warn && one.fix.is_some()));
        let all = ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy", "ClusterTrustBundle"].map(str::to_owned);
        assert!(apis(&all).iter().all(|one| one.status == Status::Ok));
    }

    #[test]
    fn an_old_api_server_is_told_apart() {
        assert_eq!(version("1", "37").status, Status::Ok);
        assert_eq!(version("1", "30+").status, Status::Ok);
        assert_eq!(version("1", "29").status, Status::Fail);
    }
}
