//! A pod, as the node knows it from the kubelet and the API server, not as the pod describes itself.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Longest uid accepted, in bytes. The API server's are 36 (UUID), a static pod's are 32 (a hash in hexadecimal).
const MAX_UID_LEN: usize = 64;

/// `metadata.uid` of a pod: letters, digits and `-`, so it is one path component and never `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(String);

/// The text is no pod uid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{found:?} is no pod uid: 1 to {MAX_UID_LEN} letters, digits and '-' are expected, as in metadata.uid of a pod"
)]
pub struct InvalidPodUid {
    found: String,
}

/// Which pod a workload is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodIdentity {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: never used twice, unlike the name.
    pub uid: PodUid,
    /// `spec.serviceAccountName`.
    pub service_account: String,
    /// `spec.nodeName`.
    pub node: String,
}

impl PodUid {
    /// The uid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PodUid {
    type Err = InvalidPodUid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid =
            (1..=MAX_UID_LEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPodUid { found: text.chars().take(MAX_UID_LEN).collect() })
        }
    }
}

impl AsRef<str> for PodUid {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PodIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_of_the_api_server_and_of_static_pods_are_accepted() {
        for uid in ["4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"] {
            assert_eq!(uid.parse::<PodUid>().map(|u| u.to_string()).as_deref(), Ok(uid));
        }
    }

    #[test]
    fn a_uid_that_could_leave_its_directory_is_refused() {
        for uid in ["", "..", "a/b", "a\0b", "a b", "ü", &"a".repeat(MAX_UID_LEN + 1)] {
            assert!(uid.parse::<PodUid>().is_err(), "{uid:?} was accepted");
        }
    }
}
