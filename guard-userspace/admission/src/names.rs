//! Names that admission gives to what it adds, and that other parts look for.

/// Name of the init container that proves enforcement.
pub const GATE_CONTAINER: &str = "egress-guard-gate";
/// Name of the projected volume with the pod's own token for the API server. Mounted by the gate alone, read by the node guard.
pub const UPSTREAM_VOLUME: &str = "egress-guard-upstream";
/// Name of the projected volume with what the gate itself needs: a token for the guard, the guard's CA, the namespace.
pub const GATE_VOLUME: &str = "egress-guard-gate";
/// Where the gate has its own credentials.
pub const GATE_CREDENTIALS: &str = "/var/run/secrets/egressguard.io/gate";
/// Where the gate has the upstream volume. It can't read it: the volume is there because the kubelet makes only volumes that are mounted.
pub const UPSTREAM_MOUNT: &str = "/var/run/secrets/egressguard.io/upstream";
/// The guard's program in its own image.
pub const GUARD_PROGRAM: &str = "/usr/local/bin/guard";
/// The uid and gid of the gate.
pub const GATE_USER: i64 = 65532;
/// Audience of the tokens that agent pods hold.
pub const AUDIENCE: &str = "egressguard.io";
/// Annotation that holds the guard's CA, PEM, where the cluster has no `ClusterTrustBundle`.
pub const CA_ANNOTATION: &str = "egressguard.io/ca";
/// The `ClusterTrustBundle` that `guard control` publishes.
pub const TRUST_BUNDLE: &str = "egressguard.io:serving:ca";
/// The `ConfigMap` in the guard's namespace that `guard control` writes the CA to.
pub const CA_CONFIG_MAP: &str = "egress-guard-ca";
/// Its key, and the name of the file in the pod.
pub const CA_FILE: &str = "ca.crt";
/// What the API server calls the volume with a pod's own credentials: this and five random letters.
pub const API_ACCESS_PREFIX: &str = "kube-api-access-";
/// Where every client looks for its credentials.
pub const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
