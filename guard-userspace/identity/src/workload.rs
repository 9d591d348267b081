//! What is guarded.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::pod::PodIdentity;

/// Longest label value that Kubernetes allows, in bytes.
const MAX_LABEL_VALUE_LEN: usize = 63;

/// The node's number for a workload: the id of the pod's cgroup (cgroup2 inode), as the kernel programs know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId(pub u64);

/// Value of the label `egressguard.io/agent`: which class of agents a pod belongs to (`chatgpt`, `ci-bot`).
///
/// A label value as Kubernetes defines it, which may be empty: a pod labelled so is guarded like any other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentClass(String);

/// The text is no label value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{found:?} is no agent class: a Kubernetes label value is expected, at most {MAX_LABEL_VALUE_LEN} letters, digits, '-', '_' and '.', \
     with a letter or digit at both ends"
)]
pub struct InvalidAgentClass {
    found: String,
}

/// A guarded pod. One is made when the pod is enrolled, and shared by everything that serves it until it is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The node's number for it.
    pub id: WorkloadId,
    /// The pod itself.
    pub pod: PodIdentity,
    /// Value of its agent label.
    pub class: AgentClass,
    /// `metadata.labels`; policies select by them.
    pub labels: BTreeMap<String, String>,
}

impl AgentClass {
    /// The class as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentClass {
    type Err = InvalidAgentClass;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        let valid = bytes.len() <= MAX_LABEL_VALUE_LEN
            && ends.iter().flatten().all(|b| b.is_ascii_alphanumeric())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidAgentClass { found: text.chars().take(MAX_LABEL_VALUE_LEN).collect() })
        }
    }
}

impl fmt::Display for AgentClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pod.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_value_is_an_agent_class() {
        for value in ["", "chatgpt", "ci-bot", "a", "A.b_c-9", &"a".repeat(MAX_LABEL_VALUE_LEN)] {
            assert!(value.parse::<AgentClass>().is_ok(), "{value:?} was refused");
        }
    }

    #[test]
    fn what_kubernetes_refuses_as_label_value_is_no_agent_class() {
        for value in ["-a", "a-", ".", "a b", "ä", "a/b", &"a".repeat(MAX_LABEL_VALUE_LEN + 1)] {
            assert!(value.parse::<AgentClass>().is_err(), "{value:?} was accepted");
        }
    }
}
