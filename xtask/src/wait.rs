//! Bounded waits: whatever takes too long is named, with the place of its log.

use std::fmt::Write as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::run::tail;

/// What is waited for, and where to look when it does not come.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    /// The part, as a person would say it: "the API server".
    pub part: &'a str,
    /// Its log.
    pub log: &'a Path,
    /// How long at most.
    pub limit: Duration,
}

impl Wait<'_> {
    /// Asks again and again. `ready` says `Ok(None)` when it is there and `Ok(Some(reason))` when not yet; an error ends the wait at once.
    pub fn until(self, mut ready: impl FnMut() -> Result<Option<String>>) -> Result<()> {
        let start = Instant::now();
        loop {
            let Some(reason) = ready()? else { return Ok(()) };
            if start.elapsed() >= self.limit {
                bail!("{} is not ready after {} s: {reason}{}", self.part, self.limit.as_secs(), self.log_tail());
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Where the log is, and how it ends.
    pub fn log_tail(self) -> String {
        let mut text = format!("\nits log: {}", self.log.display());
        if let Ok(log) = std::fs::read(self.log) {
            let _ = write!(text, "\n{}", tail(&String::from_utf8_lossy(&log), 12));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_names_the_part_its_reason_and_its_log() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\nlast words\n").unwrap();
        let wait = Wait { part: "the scheduler", log: file.path(), limit: Duration::from_millis(1) };
        let error = wait.until(|| Ok(Some("no answer".into()))).unwrap_err().to_string();
        for needed in ["the scheduler", "no answer", "last words", &file.path().display().to_string()] {
            assert!(error.contains(needed), "{needed:?} in {error}");
        }
    }

    #[test]
    fn what_becomes_ready_ends_the_wait() {
        let mut left = 2;
        let wait = Wait { part: "it", log: Path::new("/nonexistent"), limit: Duration::from_secs(5) };
        wait.until(|| {
            left -= 1;
            Ok((left > 0).then(|| "later".to_owned()))
        })
        .unwrap();
    }
}
