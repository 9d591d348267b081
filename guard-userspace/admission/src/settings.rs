//! What an administrator sets: the file `admission.yaml` that the chart puts into a `ConfigMap`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All of it. A field that doesn't exist is an error: a misspelt restriction must not be silently none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The init container that admission puts into agent pods.
    pub gate: Gate,
    /// How the guard's CA gets into agent pods.
    pub trust: Trust,
    /// Where the guard itself runs. No agent runs there.
    pub guard_namespace: String,
    /// Who the guard's own roles are to the API server.
    pub guard_service_accounts: GuardServiceAccounts,
    /// Added to every agent pod, for the gate's image. The Secrets have to be in the pods' namespaces.
    #[serde(default)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Init containers that may come before the gate.
    #[serde(default)]
    pub leading_init_containers: Vec<LeadingInitContainer>,
    /// Classes that not everyone may use. Any other class is free, and worth only what policies give it.
    #[serde(default)]
    pub classes: Vec<Class>,
    /// Namespaces whose label makes nobody an agent.
    #[serde(default)]
    pub exempt_namespaces: Vec<String>,
    /// Runtime classes whose pods have their sockets in the node's own kernel, as runc's have.
    #[serde(default)]
    pub runtime_classes: Vec<String>,
    /// Audiences of further tokens that agent pods may mount. None of the API server's own.
    #[serde(default)]
    pub token_audiences: Vec<String>,
    /// Drivers of inline CSI volumes that carry no credential for the API server.
    #[serde(default)]
    pub csi_drivers: Vec<String>,
}

/// The gate's image and what it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gate {
    /// `REPOSITORY:TAG` or `REPOSITORY@DIGEST` of the guard.
    pub image: String,
    /// The repository alone. A gate of another version is still a gate: pods outlive an upgrade.
    pub repository: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Requests that equal their limits suit any `maxLimitRequestRatio` and leave a Guaranteed pod guaranteed.
    pub resources: Resources,
    /// Environment variables that other webhooks put into every container, and may put into the gate.
    #[serde(default)]
    pub tolerated_env: Vec<String>,
    /// Paths that other webhooks mount into every container, and may mount into the gate.
    #[serde(default)]
    pub tolerated_mounts: Vec<String>,
}

/// Kubernetes' `ResourceRequirements`: quantities by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(default)]
    pub requests: BTreeMap<String, String>,
    /// What the kernel holds it to.
    #[serde(default)]
    pub limits: BTreeMap<String, String>,
}

/// How the guard's CA gets into agent pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// By a projection of the `ClusterTrustBundle` [`crate::TRUST_BUNDLE`].
    ClusterTrustBundle,
    /// By a projection of the annotation [`crate::CA_ANNOTATION`], which admission stamps.
    Annotation,
}

/// Accounts of the guard, as the API server calls their users: `system:serviceaccount:NAMESPACE:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardServiceAccounts {
    /// `guard control`.
    pub control: String,
    /// `guard node`.
    pub node: String,
}

/// The name of an object in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalObjectReference {
    /// Its name.
    pub name: String,
}

/// An init container of a mesh or the like. It runs before the pod is proven to be guarded, so its image is part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeadingInitContainer {
    /// `istio-init`.
    pub name: String,
    /// `istio/proxyv2`, without tag and digest.
    pub repository: String,
    /// What it may add besides the usual, such as `NET_ADMIN`; `NET_RAW` among them leaves it that one.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// A class that is tied to places. If it is tied to none, anyone may use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Class {
    /// The label's value.
    pub name: String,
    /// Namespaces whose pods may be of it.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// `NAMESPACE/NAME` of accounts whose pods may be of it.
    #[serde(default)]
    pub service_accounts: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_is_an_error() {
        let gate = "gate: {image: r:1, repository: r, imagePullPolicy: Always, resources: {}}";
        let rest = "trust: Annotation\nguardNamespace: g\nguardServiceAccounts: {control: c, node: n}";
        let parse = |text: String| serde_saphyr::from_str::<Settings>(&text);
        assert_eq!(parse(format!("{gate}\n{rest}")).unwrap().trust, Trust::Annotation);
        for wrong in
            ["exemptNamespace: [a]", "classes: [{name: a, namespace: [b]}]", "leadingInitContainers: [istio-init]"]
        {
            assert!(parse(format!("{gate}\n{rest}\n{wrong}")).is_err(), "{wrong}");
        }
    }
}
