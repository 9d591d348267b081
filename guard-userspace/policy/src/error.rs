//! Why policies do not compile, told as a compiler tells it.

use std::fmt;

use thiserror::Error;

/// A policy that does not compile. Printed as `FILE:LINE:COLUMN: policy P, rule R: REASON`, with what is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Error)]
pub struct PolicyError {
    /// The file, as it was named to the engine.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<u32>,
    /// From 1, in characters.
    pub column: Option<u32>,
    /// Name of the policy, or its place if it has none.
    pub policy: Option<String>,
    /// Name of the rule, or its place if it has none.
    pub rule: Option<String>,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str(file)?;
            for position in [self.line, self.column].into_iter().flatten() {
                write!(f, ":{position}")?;
            }
            f.write_str(": ")?;
        }
        match (&self.policy, &self.rule) {
            (Some(policy), Some(rule)) => write!(f, "policy {policy}, rule {rule}: ")?,
            (Some(policy), None) => write!(f, "policy {policy}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.reason)
    }
}
