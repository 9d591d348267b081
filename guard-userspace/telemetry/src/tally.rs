//! Exchanges counted by decision and rule, for one who runs one command and wants to know at its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{fmt, util::SubscriberInitExt};

use crate::LoggingError;
use crate::logging::filter;

/// The target of the lines that exchanges write.
const EXCHANGE: &str = "guard::exchange";

/// Counts the lines that exchanges write. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<Decided, u64>>>);

/// What was decided, and by what.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decided {
    /// `allow`, `deny`, …: the words of the log.
    pub decision: String,
    /// The policy; empty where none decided.
    pub policy: String,
    /// Its rule.
    pub rule: String,
}

impl Tally {
    /// What was counted so far.
    pub fn counts(&self) -> BTreeMap<Decided, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Decided, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Tally {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == EXCHANGE {
            let mut decided = Decided::default();
            event.record(&mut decided);
            *self.lock().entry(decided).or_default() += 1;
        }
    }
}

impl Visit for Decided {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "decision" => value.clone_into(&mut self.decision),
            "policy" => value.clone_into(&mut self.policy),
            "rule" => value.clone_into(&mut self.rule),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Sets logging up for a process whose standard streams are another's: JSON lines into `file` if there is one, and the tally.
///
/// # Errors
/// As of [`crate::init_logging`].
pub fn init_tally(file: Option<File>, tally: &Tally) -> Result<(), LoggingError> {
    let filter = filter(std::env::var("GUARD_LOG").ok())?;
    let lines =
        file.map(|file| fmt::layer().json().flatten_event(true).with_writer(Mutex::new(file)).with_filter(filter));
    tracing_subscriber::registry().with(tally.clone()).with(lines).try_init()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_counted_by_what_decided_them() {
        let tally = Tally::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(tally.clone()), || {
            for _ in 0..2 {
                tracing::info!(target: "guard::exchange", decision = "deny", policy = "p", rule = "r", status = 403);
            }
            tracing::info!(target: "guard::exchange", decision = "allow", policy = "", rule = "");
            tracing::info!(decision = "deny", "something else");
        });
        let counts: Vec<_> =
            tally.counts().into_iter().map(|(what, count)| (what.decision, what.rule, count)).collect();
        assert_eq!(counts, [("allow".into(), String::new(), 1), ("deny".into(), "r".to_owned(), 2)]);
    }
}
