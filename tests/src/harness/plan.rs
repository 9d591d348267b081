//! How a pod shall be: an agent with the volumes and the gate that admission would give it, or an ordinary one.

use serde_json::{Value, json};
use xtask::cluster::Node;
use xtask::images;

/// Where every client looks for its credentials.
const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How a pod shall be.
#[derive(Clone, Debug)]
pub struct PodPlan {
    pub(super) name: String,
    pub(super) node: usize,
    pub(super) image: &'static str,
    /// An agent's volumes come with it; its label where it isn't empty.
    class: Option<&'static str>,
    gate: bool,
    capabilities: Vec<&'static str>,
    privileged: bool,
    host_network: bool,
    labels: Value,
    service_account: &'static str,
    cpu_limit: Option<&'static str>,
}

/// An agent's class.
#[derive(Clone, Copy, Debug)]
pub struct Agent(pub &'static str);

impl PodPlan {
    /// An ordinary pod on the first node, with a shell and the probe.
    pub fn ordinary(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            node: 0,
            image: images::AGENT,
            class: None,
            gate: false,
            capabilities: Vec::new(),
            privileged: false,
            host_network: false,
            labels: json!({}),
            service_account: "agent",
            cpu_limit: None,
        }
    }

    /// An agent pod as admission makes it: two tokens, the guard's CA, the gate.
    pub fn agent(name: impl Into<String>, class: Agent) -> Self {
        Self { class: Some(class.0), gate: true, ..Self::ordinary(name) }
    }

    /// With the credentials of an agent pod, but neither label nor gate: what becomes an agent late.
    pub fn late_agent(name: impl Into<String>) -> Self {
        Self::agent(name, Agent("")).without_gate()
    }

    /// No gate: for what has to run before enforcement is proven.
    pub fn without_gate(mut self) -> Self {
        self.gate = false;
        self
    }

    /// With so much of a processor and no more (`500m`).
    pub fn cpu_limit(self, limit: &'static str) -> Self {
        Self { cpu_limit: Some(limit), ..self }
    }

    /// On the node of this position.
    pub fn on(self, node: usize) -> Self {
        Self { node, ..self }
    }

    /// Of another image.
    pub fn image(self, image: &'static str) -> Self {
        Self { image, ..self }
    }

    /// With capabilities that admission would refuse: all but interfaces beside the veth, which `NET_ADMIN` can make, the kernel has to hold
    /// without it.
    pub fn armed(self) -> Self {
        Self { capabilities: vec!["NET_RAW", "NET_ADMIN", "SYS_ADMIN"], ..self }
    }

    /// With all of them, and every device.
    pub fn privileged(self) -> Self {
        Self { privileged: true, ..self }
    }

    /// In the node's own network.
    pub fn host_network(self) -> Self {
        Self { host_network: true, ..self }
    }

    /// With another account than the agents'.
    pub fn account(self, service_account: &'static str) -> Self {
        Self { service_account, ..self }
    }

    /// With a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels[name] = json!(value);
        self
    }

    /// The object, for what shall not be waited for.
    pub fn object(&self, nodes: &[Node]) -> Value {
        let mut labels = self.labels.clone();
        if let Some(class) = self.class.filter(|class| !class.is_empty()) {
            labels["egressguard.io/agent"] = json!(class);
        }
        let credentials = json!({"name": "credentials", "mountPath": CREDENTIALS, "readOnly": true});
        let mut container = json!({
            "name": "main",
            "image": self.image,
            "imagePullPolicy": "Never",
            "securityContext": {"privileged": self.privileged, "capabilities": {"add": self.capabilities}},
        });
        if let Some(limit) = self.cpu_limit {
            container["resources"] = json!({"limits": {"cpu": limit}});
        }
        let mut spec = json!({
            "nodeName": nodes[self.node].name,
            "serviceAccountName": self.service_account,
            "terminationGracePeriodSeconds": 0,
            "hostNetwork": self.host_network,
        });
        if self.class.is_some() {
            container["volumeMounts"] = json!([credentials]);
            spec["automountServiceAccountToken"] = json!(false);
            spec["volumes"] = json!([
                {"name": "credentials", "projected": {"sources": [
                    {"serviceAccountToken": {"audience": "egressguard.io", "expirationSeconds": 3600, "path": "token"}},
                    {"configMap": {"name": "egress-guard-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                ]}},
                {"name": "egress-guard-upstream", "projected": {"sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3600, "path": "token"}},
                ]}},
            ]);
        }
        if self.gate {
            let upstream = "/var/run/secrets/egressguard.io/upstream";
            spec["initContainers"] = json!([{
                "name": "egress-guard-gate",
                "image": images::GATE,
                "imagePullPolicy": "Never",
                "volumeMounts": [credentials, {"name": "egress-guard-upstream", "mountPath": upstream, "readOnly": true}],
            }]);
        }
        spec["containers"] = json!([container]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name, "labels": labels}, "spec": spec})
    }
}
