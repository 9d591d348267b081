//! Names that nodes, `guard control` and the chart agree on.

/// The signer of nodes' leaves.
pub(crate) const SIGNER: &str = "egressguard.io/serving";

/// What a leaf may be used for; a request asks for exactly that.
pub(crate) const USAGES: [&str; 2] = ["digital signature", "server auth"];

/// The `ConfigMap` in the guard's namespace with the authorities to trust.
pub(crate) const CONFIG_MAP: &str = guard_admission::CA_CONFIG_MAP;

/// The key in it.
pub(crate) const CA_FILE: &str = guard_admission::CA_FILE;

/// The `Secret` in the guard's namespace with the authorities and their keys.
pub(crate) const SECRET: &str = "egress-guard-ca";

/// The key in it.
pub(crate) const SECRET_KEY: &str = "authorities.json";

/// On that `Secret`, with any value: another authority is wanted. Taken off when it is announced.
pub(crate) const ROTATE_ANNOTATION: &str = "egressguard.io/rotate";

/// The `ClusterTrustBundle`, where the cluster has them.
pub(crate) const TRUST_BUNDLE: &str = guard_admission::TRUST_BUNDLE;

/// The `Lease` in the guard's namespace that the leading replica holds.
pub(crate) const LEASE: &str = "egress-guard-control";

/// On a signing request, for people: whose it says it is.
pub(crate) const NODE_LABEL: &str = "egressguard.io/node";

/// The subject of a node's leaf.
pub(crate) fn common_name(node: &str) -> String {
    format!("egress-guard:node:{node}")
}
