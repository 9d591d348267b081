//! What the guard needs to know of a pod, taken from the API object once.

use std::collections::BTreeMap;

use guard_api::AGENT_LABEL;
use guard_identity::{AgentClass, InvalidPodUid, PodIdentity, PodUid, UPSTREAM_VOLUME};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use thiserror::Error;

use crate::pod_cgroup::Qos;

/// On the API server's copy of a static pod: the uid that the kubelet itself gave it, which names its cgroup and directory.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// One pod of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRecord {
    /// Who it is to the API server.
    pub identity: PodIdentity,
    /// The uid that its cgroup and its directory bear. Another than `identity.uid` for static pods alone.
    pub node_uid: PodUid,
    /// Value of its agent label, if it has one.
    pub class: Option<AgentClass>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Where its cgroup is likely to be.
    pub qos: Option<Qos>,
    /// It shares the node's network namespace.
    pub host_network: bool,
    /// It has the volume from which the guard reads the token for the API server.
    pub has_upstream_volume: bool,
    /// When the API server made the object.
    pub created: Option<Time>,
    /// What makes it unsafe to guard, if anything does.
    pub violation: Option<Violation>,
    /// The API server says that all its containers have ended for good. Others than the kubelet can write that, too.
    pub ended: bool,
}

/// A rule that a pod breaks: it could get round the guard, or at its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name.
    pub rule: String,
    /// Why, and what to change.
    pub message: String,
}

/// What the labels of a pod alone don't say.
pub trait Judge: Send + Sync + 'static {
    /// The pod's class, its namespace's label included. `namespace` holds that namespace's labels if it has the agent label, and else none.
    fn class(&self, pod: &Pod, namespace: &BTreeMap<String, String>) -> Option<AgentClass>;
    /// The first rule that the pod breaks. Asked of agents alone.
    fn violation(&self, pod: &Pod, namespace: &BTreeMap<String, String>) -> Option<Violation>;
}

/// Why a pod object can't be understood.
#[derive(Debug, Error)]
pub enum PodError {
    /// A field that the API server always sets is not there.
    #[error("the pod has no {field}")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// The uid is none.
    #[error(transparent)]
    Uid(#[from] InvalidPodUid),
}

impl PodRecord {
    /// Reads the object.
    ///
    /// A label whose value is no label value can't come from the API server; the pod is then guarded as an agent of the empty class.
    pub fn from_object(pod: &Pod) -> Result<Self, PodError> {
        let missing = |field| move || PodError::Missing { field };
        let metadata = &pod.metadata;
        let spec = pod.spec.as_ref().ok_or_else(missing("spec"))?;
        let identity = PodIdentity {
            namespace: metadata.namespace.clone().ok_or_else(missing("metadata.namespace"))?,
            name: metadata.name.clone().ok_or_else(missing("metadata.name"))?,
            uid: metadata.uid.as_deref().ok_or_else(missing("metadata.uid"))?.parse()?,
            service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            node: spec.node_name.clone().ok_or_else(missing("spec.nodeName"))?,
        };
        let node_uid = match metadata.annotations.as_ref().and_then(|annotations| annotations.get(MIRROR_ANNOTATION)) {
            Some(uid) => uid.parse()?,
            None => identity.uid.clone(),
        };
        let labels = metadata.labels.clone().unwrap_or_default();
        let class = labels.get(AGENT_LABEL).map(|value| value.parse().unwrap_or_else(|_| empty_class()));
        let status = pod.status.as_ref();
        Ok(Self {
            node_uid,
            class,
            labels,
            qos: status.and_then(|status| Qos::parse(status.qos_class.as_deref()?)),
            host_network: spec.host_network == Some(true),
            has_upstream_volume: spec.volumes.iter().flatten().any(|volume| volume.name == UPSTREAM_VOLUME),
            violation: None,
            created: metadata.creation_timestamp.clone(),
            ended: matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed")),
            identity,
        })
    }

    /// Reads the object as it stands in a namespace with these labels.
    ///
    /// A class by the namespace is shown among the pod's labels as well, as admission would have stamped it: policies select by them.
    pub(crate) fn judged(pod: &Pod, namespace: &BTreeMap<String, String>, judge: &dyn Judge) -> Result<Self, PodError> {
        let mut record = Self::from_object(pod)?;
        if record.class.is_none()
            && let Some(class) = judge.class(pod, namespace)
        {
            record.labels.insert(AGENT_LABEL.to_owned(), class.as_str().to_owned());
            record.class = Some(class);
        }
        record.violation = record.class.as_ref().and_then(|_| judge.violation(pod, namespace));
        Ok(record)
    }

    /// The object says that it stands for a pod with another uid: that of a static pod. Whoever may create pods can write that.
    pub(crate) fn is_mirror(&self) -> bool {
        self.node_uid != self.identity.uid
    }
}

fn empty_class() -> AgentClass {
    "".parse().expect("the empty label value is one")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(metadata: &Value, spec: &Value, status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }

    fn agent() -> Value {
        json!({"namespace": "team-a", "name": "bot", "uid": "4c0f-1", "labels": {"egressguard.io/agent": "ci-bot", "app": "x"}})
    }

    #[test]
    fn an_agent_pod_is_read_whole() {
        let spec = json!({"nodeName": "n1", "serviceAccountName": "bot", "containers": [], "volumes": [{"name": "egress-guard-upstream"}]});
        let record =
            PodRecord::from_object(&object(&agent(), &spec, &json!({"qosClass": "Burstable", "phase": "Running"})))
                .unwrap();
        assert_eq!(record.identity.to_string(), "team-a/bot");
        assert_eq!(record.identity.service_account, "bot");
        assert_eq!(record.class.as_ref().map(AgentClass::as_str), Some("ci-bot"));
        assert_eq!(record.node_uid, record.identity.uid);
        assert_eq!(record.qos, Some(Qos::Burstable));
        assert!(record.has_upstream_volume && !record.host_network && !record.ended);
    }

    #[test]
    fn a_pod_without_the_label_is_no_agent() {
        let metadata = json!({"namespace": "team-a", "name": "web", "uid": "1"});
        let record =
            PodRecord::from_object(&object(&metadata, &json!({"nodeName": "n1", "containers": []}), &json!({})))
                .unwrap();
        assert_eq!(record.class, None);
        assert!(!record.has_upstream_volume);
    }

    #[test]
    fn a_static_pod_is_found_by_the_uid_that_the_kubelet_gave_it() {
        let mut metadata = agent();
        metadata["annotations"] = json!({"kubernetes.io/config.mirror": "0a1b2c"});
        let record =
            PodRecord::from_object(&object(&metadata, &json!({"nodeName": "n1", "containers": []}), &json!({})))
                .unwrap();
        assert_eq!(record.node_uid.as_str(), "0a1b2c");
        assert_eq!(record.identity.uid.as_str(), "4c0f-1");
    }

    #[test]
    fn a_uid_that_is_a_path_is_refused() {
        let mut metadata = agent();
        metadata["annotations"] = json!({"kubernetes.io/config.mirror": "../../system.slice"});
        let pod = object(&metadata, &json!({"nodeName": "n1", "containers": []}), &json!({}));
        assert!(matches!(PodRecord::from_object(&pod), Err(PodError::Uid(_))));
    }
}
