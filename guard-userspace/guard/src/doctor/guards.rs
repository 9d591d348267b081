//! Nodes, what their guards tell, and how long the authority lives.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::DynamicObject;
use x509_parser::pem::Pem;

use super::finding::{Finding, named};

/// A guard writes once a minute.
const STALE: SignedDuration = SignedDuration::from_mins(3);
/// The authority is renewed at half of its life: what is nearer than this is overdue.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// By what the nodes say of themselves.
pub(super) fn nodes(nodes: &[Node]) -> Vec<Finding> {
    let mut by_kernel: BTreeMap<(u32, u32), Vec<String>> = BTreeMap::new();
    for node in nodes {
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        let version = info.map(|info| info.kernel_version.as_str()).unwrap_or_default();
        by_kernel.entry(numbers(version)).or_default().push(node.name_any());
    }
    let those = |wanted: &dyn Fn((u32, u32)) -> bool| -> Vec<String> {
        by_kernel.iter().filter(|(version, _)| wanted(**version)).flat_map(|(_, names)| names.clone()).collect()
    };
    let (old, aged) = (those(&|version| version < (5, 15)), those(&|version| ((5, 15)..(6, 6)).contains(&version)));
    let mut findings = Vec::new();
    if !old.is_empty() {
        findings.push(Finding::fail(
            "kernels",
            format!("older than 5.15: {}", named(&old)),
            "newer kernels, or node.nodeSelector that leaves them out and no agents there",
        ));
    }
    if !aged.is_empty() {
        findings.push(Finding::warn(
            "kernels",
            format!("5.15 to 6.5, without tcx: {}", named(&aged)),
            "the guard uses clsact there, which another tool can precede until it looks again; 6.6 has tcx",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("kernels", format!("{} nodes with 6.6 or newer", nodes.len())));
    }
    findings
}

/// `6.1.0-18-amd64` is 6.1.
fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// What the guards' objects say; `busy` are the nodes with agent pods.
pub(super) fn told(guards: &[DynamicObject], busy: impl Iterator<Item = String>, now: Timestamp) -> Vec<Finding> {
    let known: BTreeSet<String> = guards.iter().map(ResourceExt::name_any).collect();
    let silent: Vec<String> = busy.collect::<BTreeSet<_>>().difference(&known).cloned().collect();
    let is_stale = |guard: &&DynamicObject| {
        let seen = guard.data["status"]["lastSeen"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        seen.is_none_or(|seen| now.duration_since(seen) > STALE)
    };
    let stale: Vec<String> = guards.iter().filter(is_stale).map(ResourceExt::name_any).collect();
    let mut waiting = Vec::new();
    for guard in guards.iter().filter(|guard| !is_stale(guard)) {
        for condition in guard.data["status"]["conditions"].as_array().into_iter().flatten() {
            if condition["status"] != "True" {
                let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
                waiting.push(format!("{}: {} {}: {}", guard.name_any(), text("type"), text("reason"), text("message")));
            }
        }
    }
    let mut findings = Vec::new();
    if !silent.is_empty() {
        findings.push(Finding::fail(
            "guards",
            format!("agent pods on nodes without a guard: {}", named(&silent)),
            "node.tolerations and node.nodeSelector must let the DaemonSet run there",
        ));
    }
    if !stale.is_empty() {
        findings.push(Finding::fail(
            "guards",
            format!("not heard of for more than 3 minutes: {}", named(&stale)),
            "agents there are cut off: look at the pod of DaemonSet egress-guard-node on that node",
        ));
    }
    if !waiting.is_empty() {
        findings.push(Finding::fail("guards", named(&waiting), "what the message names"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("guards", format!("{} guards, all ready", guards.len())));
    }
    findings
}

/// The authorities that agents trust, PEM.
pub(super) fn authority(bundle: Option<&str>, now: Timestamp) -> Finding {
    const CHECK: &str = "certificates";
    let Some(bundle) = bundle else {
        return Finding::fail(
            CHECK,
            "ConfigMap egress-guard-ca has no ca.crt",
            "does control run? It writes it when it starts",
        );
    };
    let ends: Vec<Timestamp> = Pem::iter_from_buffer(bundle.as_bytes())
        .filter_map(|pem| {
            let pem = pem.ok()?;
            Timestamp::from_second(pem.parse_x509().ok()?.validity().not_after.timestamp()).ok()
        })
        .collect();
    let Some(last) = ends.iter().max() else {
        return Finding::fail(
            CHECK,
            "ca.crt in ConfigMap egress-guard-ca holds no certificate",
            "delete the ConfigMap: control writes it anew",
        );
    };
    let left = last.duration_since(now);
    let found = format!("{} authorities, the last until {last}", ends.len());
    if left <= SignedDuration::ZERO {
        Finding::fail(CHECK, format!("expired: {found}"), "does control run? Its log says why it did not renew")
    } else if left < SOON {
        Finding::warn(CHECK, found, "control renews it at half of its life: its log says why it has not")
    } else {
        Finding::ok(CHECK, found)
    }
}

#[cfg(test)]
mod tests {
    use guard_certificates::Authority;
    use serde_json::{Value, json};

    use super::super::finding::Status;
    use super::*;

    fn node(name: &str, kernel: &str) -> Node {
        let info = json!({
            "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": kernel, "kubeProxyVersion": "",
            "kubeletVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": "",
        });
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {"nodeInfo": info}})).unwrap()
    }

    fn guard(name: &str, status: &Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    #[test]
    fn kernels_are_judged_by_their_numbers() {
        assert_eq!(nodes(&[node("a", "6.12.1-cloud")])[0].status, Status::Ok);
        assert_eq!(nodes(&[node("a", "6.1.0-18-amd64")])[0].status, Status::Warn);
        let found = nodes(&[node("a", "6.12.1"), node("b", "5.10.0")]);
        assert!(found[0].status == Status::Fail && found[0].found.contains(": b"), "{found:?}");
    }

    #[test]
    fn a_guard_that_is_silent_and_a_node_that_has_none_are_found() {
        let now = Timestamp::now();
        let fresh =
            guard("a", &json!({"lastSeen": now.to_string(), "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(told(std::slice::from_ref(&fresh), ["a".to_owned()].into_iter(), now)[0].status, Status::Ok);
        let missing = told(std::slice::from_ref(&fresh), ["b".to_owned()].into_iter(), now);
        assert!(missing[0].status == Status::Fail && missing[0].found.contains('b'), "{missing:?}");
        let old = guard("a", &json!({"lastSeen": (now - SignedDuration::from_hours(1)).to_string()}));
        assert!(told(&[old], std::iter::empty(), now)[0].found.contains("not heard of"));
        let waiting = json!({"lastSeen": now.to_string(), "conditions": [{"type": "Ready", "status": "False", "reason": "Waiting", "message": "for x"}]});
        assert!(told(&[guard("a", &waiting)], std::iter::empty(), now)[0].found.contains("a: Ready Waiting: for x"));
    }

    #[test]
    fn an_authority_is_judged_by_its_end() {
        let authority_pem = Authority::new_in_memory().unwrap().certificate_pem();
        let now = Timestamp::now();
        assert_ne!(authority(Some(&authority_pem), now).status, Status::Fail);
        let later = now + SignedDuration::from_hours(24 * 365 * 100);
        assert!(authority(Some(&authority_pem), later).found.starts_with("expired"));
        assert_eq!(authority(Some("nothing"), now).status, Status::Fail);
        assert_eq!(authority(None, now).status, Status::Fail);
    }
}
