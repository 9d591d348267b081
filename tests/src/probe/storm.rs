//! The same tries again and again while something happens to the node, each kind on a thread of its own.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use serde::{Deserialize, Serialize};

use super::Command;
use crate::finding::{Finding, Outcome};

/// Different texts that are kept of one kind of try.
const MOST_TEXTS: usize = 50;

/// What came of one kind of try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Whom it met, by the SHA-256 of the certificate, and how often.
    pub met: BTreeMap<String, u64>,
    /// What was answered, and how often.
    pub answers: BTreeMap<String, u64>,
    /// What went wrong instead, and how often: refusals and silence.
    pub errors: BTreeMap<String, u64>,
    /// The longest that a try took which was answered, in milliseconds.
    pub slowest: u64,
}

/// By the probe's arguments.
pub type Tallies = BTreeMap<String, Tally>;

impl Tally {
    /// All tries.
    pub fn tries(&self) -> u64 {
        self.met_anybody() + self.errors.values().sum::<u64>()
    }

    /// Those that met somebody.
    pub fn met_anybody(&self) -> u64 {
        self.met.values().sum()
    }

    fn add(&mut self, found: &Finding, took: Duration) {
        if found.outcome == Outcome::Met {
            count(&mut self.met, found.peer_certificate_sha256.as_deref().unwrap_or("nobody that speaks TLS"));
            self.slowest = self.slowest.max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        } else {
            count(&mut self.errors, found.error.as_deref().unwrap_or("silence"));
        }
        if let Some(answer) = &found.answer {
            count(&mut self.answers, answer);
        }
    }
}

/// Tries all `ways` until standard input ends, with a pause between two tries of one kind.
pub(super) fn run(ways: &[String], limit: u64, pause: Duration) -> io::Result<Tallies> {
    let limit = limit.to_string();
    let commands = ways.iter().map(|way| {
        let words = ["probe", "--limit", &limit].into_iter().chain(way.split_whitespace());
        Command::try_parse_from(words).map_err(io::Error::other)
    });
    let commands = commands.collect::<io::Result<Vec<Command>>>()?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let again = |command: &Command| {
            let mut tally = Tally::default();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let found = super::run(command, Finding::met("")).unwrap_or_else(|error| Finding::failed("", &error));
                tally.add(&found, begun.elapsed());
                std::thread::sleep(pause);
            }
            tally
        };
        let threads: Vec<_> = commands.iter().map(|command| scope.spawn(move || again(command))).collect();
        super::ready()?;
        // Whoever started this ends it so, or has ended.
        let read = io::stdin().lock().read_to_end(&mut Vec::new());
        over.store(true, Ordering::Relaxed);
        read?;
        let tallies = threads.into_iter().map(|thread| thread.join().map_err(|_| io::Error::other("a try panicked")));
        ways.iter().cloned().zip(tallies).map(|(way, tally)| Ok((way, tally?))).collect()
    })
}

fn count(counts: &mut BTreeMap<String, u64>, text: &str) {
    let text = if counts.len() < MOST_TEXTS || counts.contains_key(text) { text } else { "and others" };
    *counts.entry(text.to_owned()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_tells_whom_was_met_from_what_went_wrong() {
        let mut tally = Tally::default();
        let met =
            Finding { peer_certificate_sha256: Some("ab".into()), answer: Some("200".into()), ..Finding::met("") };
        tally.add(&met, Duration::from_millis(7));
        tally.add(&met, Duration::from_millis(3));
        tally.add(&Finding::failed("", &io::Error::from_raw_os_error(libc::ECONNREFUSED)), Duration::from_secs(9));
        assert_eq!((tally.met["ab"], tally.answers["200"], tally.slowest), (2, 2, 7));
        assert_eq!((tally.errors.len(), tally.met_anybody(), tally.tries()), (1, 2, 3));
    }

    #[test]
    fn texts_that_never_repeat_fill_no_memory() {
        let mut counts = BTreeMap::new();
        (0..1000).for_each(|number| count(&mut counts, &number.to_string()));
        assert_eq!(counts.len(), MOST_TEXTS + 1);
        assert_eq!(counts.values().sum::<u64>(), 1000);
    }
}
