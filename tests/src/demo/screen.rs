//! What the demo prints: colour for a terminal, plain text for everything else.

use std::cell::Cell;
use std::io::IsTerminal;

use crate::finding::{Finding, Outcome};
use crate::harness::Answer;

/// Longest answer that is shown, in lines.
const MAX_LINES: usize = 12;

/// Standard output.
pub(super) struct Screen {
    colour: bool,
    steps: u32,
    failed: Cell<u32>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, steps: 0, failed: Cell::new(0) }
    }

    #[allow(clippy::unused_self, reason = "all output goes by the screen, also what has no colour")]
    pub(super) fn say(&self, text: &str) {
        println!("{text}");
    }

    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n{}", self.paint("1;36", &format!("{}. {title}", self.steps)));
    }

    pub(super) fn command(&self, pod: &str, line: &str) {
        println!("   {}", self.paint("1", &format!("[{pod}] $ {line}")));
    }

    #[allow(clippy::unused_self, reason = "as above")]
    pub(super) fn show(&self, line: &str) {
        println!("   {line}");
    }

    pub(super) fn answer(&self, answer: &Answer) {
        let lines: Vec<&str> = answer.out.lines().chain(answer.err.lines()).collect();
        for line in lines.iter().take(MAX_LINES) {
            self.show(line);
        }
        if lines.len() > MAX_LINES {
            self.show(&format!("… {} more lines", lines.len() - MAX_LINES));
        }
    }

    pub(super) fn finding(&self, finding: &Finding) {
        let error = finding.error.as_deref().unwrap_or("no answer");
        match (finding.outcome, &finding.issuer) {
            (Outcome::Met, Some(issuer)) => self.show(&format!("TLS handshake, certificate issued by {issuer}")),
            (Outcome::Met, None) => self.show(&format!("answered: {}", finding.answer.as_deref().unwrap_or_default())),
            (Outcome::Silent, _) => self.show("no answer"),
            (Outcome::Refused | Outcome::Unsupported, _) => self.show(error),
        }
    }

    pub(super) fn expect(&self, what: &str, holds: bool) {
        if holds {
            println!("   {} {what}", self.paint("32", "✓"));
        } else {
            self.failed.set(self.failed.get() + 1);
            println!("   {} NOT SO: {what}", self.paint("31", "✗"));
        }
    }

    pub(super) fn close(&self) {
        let failed = self.failed.get();
        let line = if failed == 0 { "All as it must be.".to_owned() } else { format!("{failed} not as it must be.") };
        println!("\n{}", self.paint(if failed == 0 { "1;32" } else { "1;31" }, &line));
    }

    pub(super) fn failed(&self) -> u32 {
        self.failed.get()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
