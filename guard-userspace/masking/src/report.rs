//! What was found, for people and tests.

use std::ops::Range;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the detector.
    pub detector: String,
    /// Bytes of the input that were replaced.
    pub range: Range<u64>,
    /// Where it stands in an object: `.items[3].data.password`.
    pub path: Option<String>,
}

/// Collects findings, or only counts them.
#[derive(Debug, Default)]
pub struct Report {
    findings: Option<Vec<Finding>>,
    count: u64,
}

impl Report {
    /// Keeps every finding until it is taken.
    pub fn keeping() -> Self {
        Self { findings: Some(Vec::new()), count: 0 }
    }

    pub(crate) fn add(&mut self, finding: impl FnOnce() -> Finding) {
        self.count += 1;
        if let Some(findings) = &mut self.findings {
            findings.push(finding());
        }
    }

    /// How many there were.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Takes those that have come since the last time.
    pub fn take(&mut self) -> Vec<Finding> {
        self.findings.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
