//! Bounded waits.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Ample for what takes a second on an idle machine: a wait that ends early costs nothing.
pub const SOON: Duration = Duration::from_mins(1);

/// Asks again and again until `attempt` has it, and panics with its last reason when the time is up.
pub fn eventually<T, E: Display>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if start.elapsed() >= limit => panic!("{what}: not in {} s: {reason}", limit.as_secs()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
