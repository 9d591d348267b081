//! How a command ended, from the error channel.

use serde::Deserialize;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(u8),
    /// It did not run, or how it ended is not known; the reason as the server gave it.
    Failed(String),
}

/// What is read of `meta/v1.Status`.
#[derive(Deserialize)]
struct Status {
    #[serde(default, rename = "status")]
    outcome: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Details,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Exit {
    /// Reads all that came on the error channel. Before version 4 nothing at all means success, and a text failure.
    pub fn read(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Code(0);
        }
        let Ok(status) = serde_json::from_slice::<Status>(bytes) else {
            return Self::Failed(String::from_utf8_lossy(bytes).into_owned());
        };
        if status.outcome == "Success" {
            return Self::Code(0);
        }
        let code = status.details.causes.iter().find(|cause| cause.reason == "ExitCode");
        match code.and_then(|cause| cause.message.parse().ok()) {
            Some(code) if status.reason == "NonZeroExitCode" => Self::Code(code),
            _ => Self::Failed(status.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_where_the_kubelet_puts_it() {
        let exited = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 7",
            "reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert_eq!(Exit::read(exited.as_bytes()), Exit::Code(7));
        assert_eq!(Exit::read(br#"{"metadata":{},"status":"Success"}"#), Exit::Code(0));
        assert_eq!(Exit::read(b""), Exit::Code(0));
    }

    #[test]
    fn what_is_no_code_is_a_failure_with_its_reason() {
        let missing = r#"{"status":"Failure","message":"no such file","reason":"InternalError"}"#;
        assert_eq!(Exit::read(missing.as_bytes()), Exit::Failed("no such file".into()));
        assert_eq!(Exit::read(b"it broke"), Exit::Failed("it broke".into()));
        let odd = r#"{"status":"Failure","message":"m","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"999"}]}}"#;
        assert_eq!(Exit::read(odd.as_bytes()), Exit::Failed("m".into()));
    }
}
