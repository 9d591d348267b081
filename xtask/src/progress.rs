//! What is going on, and for how long yet: a bar on a terminal, plain lines elsewhere.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Tells a person what is done. Everything goes to standard error, so that a verb's own output can be piped.
#[derive(Clone, Debug)]
pub struct Progress {
    terminal: bool,
    detailed: bool,
}

impl Progress {
    /// With `detailed`, lesser steps are told as well.
    pub fn new(detailed: bool) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), detailed }
    }

    /// A line of its own.
    #[allow(clippy::unused_self, reason = "callers hold a Progress: where lines go is its business")]
    pub fn note(&self, text: &str) {
        eprintln!("{text}");
    }

    /// A line for those who want to know more.
    pub fn detail(&self, text: &str) {
        if self.detailed {
            eprintln!("  {text}");
        }
    }

    /// Does a piece of work that takes about `estimate` on two cores, and tells how long it took.
    pub fn step<T>(&self, what: &str, estimate: Duration, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let bar = self.terminal.then(|| bar(what, estimate));
        if bar.is_none() {
            eprintln!("{what} (about {})", short(estimate));
        }
        let result = work();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let ending = if result.is_ok() { "done" } else { "failed" };
        eprintln!("{what}: {ending} in {}", short(start.elapsed()));
        result
    }
}

/// The tools underneath do not say how far they are, so the bar follows the clock and stays short of the end.
fn bar(what: &str, estimate: Duration) -> ProgressBar {
    let millis = u64::try_from(estimate.as_millis()).unwrap_or(u64::MAX).max(1);
    let bar = ProgressBar::new(millis);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {prefix}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    let ticking = bar.clone();
    std::thread::spawn(move || {
        while !ticking.is_finished() {
            let elapsed = ticking.elapsed();
            ticking.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(millis).min(millis * 99 / 100));
            let left = estimate.saturating_sub(elapsed);
            ticking.set_prefix(if left.is_zero() {
                "any moment now".to_owned()
            } else {
                format!("about {} left", short(left))
            });
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    bar
}

/// A line of a verb's own output. Whoever reads it may have seen enough (`| head`): that is no failure.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A duration for people.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f32()),
        10..100 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_a_person_would() {
        assert_eq!(short(Duration::from_millis(1230)), "1.2 s");
        assert_eq!(short(Duration::from_secs(42)), "42 s");
        assert_eq!(short(Duration::from_secs(350)), "5 min 50 s");
    }

    #[test]
    fn the_work_is_done_and_its_answer_returned() {
        let progress = Progress { terminal: false, detailed: false };
        assert_eq!(progress.step("adding", Duration::from_secs(1), || Ok(1 + 1)).unwrap(), 2);
    }
}
