//! The node guard's own look at a pod object: a policy whose binding is missing is ignored in silence, and static pods never meet admission.

use std::collections::BTreeMap;

use guard_admission::{CA_ANNOTATION, Place, Settings};
use guard_api::AGENT_LABEL;
use guard_identity::AgentClass;
use guard_workload::{Judge, Violation};
use k8s_openapi::api::core::v1::Pod;

/// By the rules of admission; without its settings, by labels alone.
pub(super) struct ByRules(pub(super) Option<Settings>);

impl Judge for ByRules {
    fn class(&self, pod: &Pod, namespace: &BTreeMap<String, String>) -> Option<AgentClass> {
        // Asked only where the pod has no label of its own: without its namespace's it is no agent.
        let label = namespace.get(AGENT_LABEL)?;
        let class = match &self.0 {
            Some(settings) => {
                let object = serde_json::to_value(pod).ok()?;
                guard_admission::class_of(settings, &place(pod, namespace), &object)?
            }
            None => label.clone(),
        };
        class.parse().ok()
    }

    fn violation(&self, pod: &Pod, namespace: &BTreeMap<String, String>) -> Option<Violation> {
        let settings = self.0.as_ref()?;
        let object = match serde_json::to_value(pod) {
            Ok(object) => object,
            Err(error) => return Some(Violation { rule: "object".to_owned(), message: error.to_string() }),
        };
        let first = guard_admission::judge(settings, &place(pod, namespace), &object).into_iter().next()?;
        Some(Violation { rule: first.rule.to_owned(), message: first.message })
    }
}

/// The CA that the pod was given when it was made counts, not that of now: authorities rotate, and whom an agent trusts is its own loss.
fn place<'a>(pod: &'a Pod, namespace: &'a BTreeMap<String, String>) -> Place<'a> {
    let annotations = pod.metadata.annotations.as_ref();
    Place {
        namespace: pod.metadata.namespace.as_deref().unwrap_or_default(),
        namespace_labels: namespace,
        ca: annotations.and_then(|annotations| annotations.get(CA_ANNOTATION)).map(String::as_str),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> Settings {
        serde_json::from_value(json!({
            "gate": {"image": "registry.example/guard:1", "repository": "registry.example/guard", "imagePullPolicy": "Never", "resources": {}},
            "trust": "ClusterTrustBundle",
            "guardNamespace": "egress-guard",
            "guardServiceAccounts": {"node": "egress-guard-node", "control": "egress-guard-control"},
            "exemptNamespaces": ["kube-system"],
        }))
        .unwrap()
    }

    fn pod(namespace: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": "bot"},
            "spec": {"nodeName": "n1", "hostPID": true, "containers": [{"name": "main", "image": "x"}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_namespaces_label_makes_its_pods_agents_unless_it_is_exempt() {
        let labelled = BTreeMap::from([(AGENT_LABEL.to_owned(), "ci-bot".to_owned())]);
        for judge in [ByRules(None), ByRules(Some(settings()))] {
            assert_eq!(judge.class(&pod("team"), &labelled).unwrap().as_str(), "ci-bot");
            assert_eq!(judge.class(&pod("team"), &BTreeMap::new()), None);
        }
        assert_eq!(ByRules(Some(settings())).class(&pod("kube-system"), &labelled), None);
    }

    #[test]
    fn what_admission_would_have_refused_is_found_here_too() {
        let labelled = BTreeMap::from([(AGENT_LABEL.to_owned(), "ci-bot".to_owned())]);
        let found = ByRules(Some(settings())).violation(&pod("team"), &labelled).unwrap();
        assert!(!found.rule.is_empty() && !found.message.is_empty());
        assert_eq!(ByRules(None).violation(&pod("team"), &labelled), None);
    }
}
