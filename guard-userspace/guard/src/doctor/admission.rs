//! Admission: which APIs there are, and whether each policy of the guard has its binding. The API server ignores a policy without one in silence,
//! and a binding whose policy is missing as well.

use super::finding::{Finding, named};

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

/// `policies` by name, and of each binding its name and the policy that it names.
pub(super) fn bindings(kind: &'static str, policies: &[String], bindings: &[(String, String)]) -> Vec<Finding> {
    let unbound: Vec<String> =
        policies.iter().filter(|policy| !bindings.iter().any(|(_, bound)| bound == *policy)).cloned().collect();
    let dangling: Vec<String> = bindings
        .iter()
        .filter(|(_, policy)| !policies.contains(policy))
        .map(|(name, policy)| format!("{name} (for {policy})"))
        .collect();
    let again = "helm upgrade puts it back; who deleted it is in the API server's audit log";
    let mut findings = Vec::new();
    if !unbound.is_empty() {
        findings.push(Finding::fail(
            "policies",
            format!("{kind} without a binding, so without effect: {}", named(&unbound)),
            again,
        ));
    }
    if !dangling.is_empty() {
        findings.push(Finding::fail(
            "policies",
            format!("bindings of {kind} whose policy is missing: {}", named(&dangling)),
            again,
        ));
    }
    if findings.is_empty() && !policies.is_empty() {
        findings.push(Finding::ok("policies", format!("{} of kind {kind}, each with its binding", policies.len())));
    }
    if policies.is_empty() && kind == "ValidatingAdmissionPolicy" {
        findings.push(Finding::warn(
            "policies",
            "no ValidatingAdmissionPolicy of the guard",
            "right with admission.mode=webhook on a cluster without them; else helm upgrade puts them back",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_policy_without_a_binding_and_a_binding_without_a_policy_are_found() {
        let policies = ["egress-guard-a".to_owned(), "egress-guard-b".to_owned()];
        let bound = |name: &str, policy: &str| (name.to_owned(), policy.to_owned());
        let all = [bound("egress-guard-a", "egress-guard-a"), bound("egress-guard-b", "egress-guard-b")];
        assert!(bindings("ValidatingAdmissionPolicy", &policies, &all).iter().all(|one| one.status == Status::Ok));
        let unbound = bindings("ValidatingAdmissionPolicy", &policies, &all[..1]);
        assert!(unbound[0].status == Status::Fail && unbound[0].found.contains("egress-guard-b"), "{unbound:?}");
        let dangling = bindings("MutatingAdmissionPolicy", &policies[..1], &all);
        assert!(dangling[0].status == Status::Fail && dangling[0].found.contains("for egress-guard-b"), "{dangling:?}");
        assert_eq!(bindings("ValidatingAdmissionPolicy", &[], &[])[0].status, Status::Warn);
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
