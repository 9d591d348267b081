//! What one try of the probe came to: one line of JSON between the pod and the test.

use std::io;

use serde::{Deserialize, Serialize};

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Somebody answered: [`Finding::peer_certificate_sha256`] or [`Finding::answer`] says who. Or, for a bind: it was had.
    Met,
    /// An error came back: a refusal by the kernel, a reset, an address that can't be reached.
    Refused,
    /// Nothing came back in time.
    Silent,
    /// This kernel has no such thing.
    Unsupported,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The probe's arguments.
    pub vector: String,
    /// How it ended.
    pub outcome: Outcome,
    /// SHA-256 of the certificate of whoever finished a TLS handshake, in hexadecimal.
    pub peer_certificate_sha256: Option<String>,
    /// That certificate's issuer (RFC 4514).
    pub issuer: Option<String>,
    /// What came back where TLS isn't spoken, and what `getpeername` said where that is asked for.
    pub answer: Option<String>,
    /// What the error says.
    pub error: Option<String>,
    /// `errno`, where the kernel gave one.
    pub errno: Option<i32>,
}

impl Finding {
    /// A try that met somebody.
    pub fn met(vector: &str) -> Self {
        Self {
            vector: vector.to_owned(),
            outcome: Outcome::Met,
            peer_certificate_sha256: None,
            issuer: None,
            answer: None,
            error: None,
            errno: None,
        }
    }

    /// A try that ended in an error.
    pub fn failed(vector: &str, error: &io::Error) -> Self {
        Self {
            outcome: outcome_of(error),
            error: Some(error.to_string()),
            errno: error.raw_os_error(),
            ..Self::met(vector)
        }
    }
}

fn outcome_of(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(
            libc::EPROTONOSUPPORT
            | libc::ESOCKTNOSUPPORT
            | libc::EAFNOSUPPORT
            | libc::ENOSYS
            | libc::EOPNOTSUPP
            | libc::ENOPROTOOPT,
        ) => Outcome::Unsupported,
        // A blocking connect whose time is up (SO_SNDTIMEO) says EINPROGRESS (socket(7)).
        Some(libc::EAGAIN | libc::EINPROGRESS | libc::ETIMEDOUT | libc::ETIME) => Outcome::Silent,
        None if error.kind() == io::ErrorKind::TimedOut => Outcome::Silent,
        None if error.kind() == io::ErrorKind::Unsupported => Outcome::Unsupported,
        _ => Outcome::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_a_refusal_and_a_kernel_without_it_are_told_apart() {
        let outcome = |errno| Finding::failed("x", &io::Error::from_raw_os_error(errno)).outcome;
        assert_eq!(outcome(libc::EPERM), Outcome::Refused);
        assert_eq!(outcome(libc::ECONNRESET), Outcome::Refused);
        assert_eq!(outcome(libc::EAGAIN), Outcome::Silent);
        assert_eq!(outcome(libc::EPROTONOSUPPORT), Outcome::Unsupported);
    }
}
