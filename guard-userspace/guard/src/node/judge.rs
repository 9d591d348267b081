//! The node guard's own look at a pod object: a policy whose binding is missing is ignored in silence, and static pods never meet admission.

use std::collections::BTreeMap;

use guard_admission::{CA_ANNOTATION, Place, Settings, Trust};
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
        let place = place(pod, namespace);
        let settings = Settings { trust: way_of_the_ca(&place), ..settings.clone() };
        let first = guard_admission::judge(&settings, &place, &object).into_iter().next()?;
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

/// So does the way by which it came: agents that run when the cluster gets trust bundles stay what they were made.
fn way_of_the_ca(place: &Place<'_>) -> Trust {
    if place.ca.is_some() { Trust::Annotation } else { Trust::ClusterTrustBundle }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
    /// As admission makes it with these settings.
    fn made(settings: &Settings, ca: &str) -> Pod {
        let labels = BTreeMap::new();
        let place = Place { namespace: "team", namespace_labels: &labels, ca: Some(ca) };
        let object = json!({
            "metadata": {"namespace": "team", "name": "bot", "labels": {AGENT_LABEL: "ci-bot"}, "annotations": {}},
            "spec": {"containers": [{"name": "main", "image": "x"}]},
        });
        let patch = guard_admission::mutate(settings, &place, &object);
        serde_json::from_value(patched(object, &patch)).unwrap()
    }

    /// `add` and `replace` of JSON Patch (RFC 6902), which is all that admission uses.
    fn patched(mut object: Value, patch: &[Value]) -> Value {
        for step in patch {
            let place = step["path"].as_str().unwrap();
            let (parent, name) = place.rsplit_once('/').unwrap();
            let name = name.replace("~1", "/").replace("~0", "~");
            match object.pointer_mut(parent).unwrap() {
                Value::Object(fields) => drop(fields.insert(name, step["value"].clone())),
                Value::Array(items) => {
                    let at = name.parse().unwrap_or(items.len());
                    if step["op"] == "replace" {
                        items[at] = step["value"].clone();
                    } else {
                        items.insert(at, step["value"].clone());
                    }
                }
                other => panic!("{place} leads into {other}"),
            }
        }
        object
    }

    #[test]
    fn an_agent_stays_safe_when_the_way_of_the_ca_changes() {
        let (bundle, annotation) = (settings(), Settings { trust: Trust::Annotation, ..settings() });
        for made_with in [&bundle, &annotation] {
            let pod = made(made_with, "the CA");
            for judged_with in [&bundle, &annotation] {
                assert_eq!(ByRules(Some(judged_with.clone())).violation(&pod, &BTreeMap::new()), None);
            }
        }
    }
}
