//! One drain, which everything that holds a connection shares.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The end of service, to be announced once. Dropped without being started, nothing happens.
#[derive(Debug)]
pub struct Drain(Arc<State>);

/// What connections watch. Once started, idle connections close, requests and watches end cleanly, and long
/// streams (exec, logs) go on until the deadline, where they are cut.
#[derive(Clone, Debug)]
pub struct DrainSignal(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Set before `started` is cancelled, so whoever sees that finds it.
    deadline: OnceLock<Instant>,
    started: CancellationToken,
}

impl Drain {
    /// A drain that has not begun, and what watches it.
    pub fn new() -> (Self, DrainSignal) {
        let state = Arc::new(State::default());
        (Self(Arc::clone(&state)), DrainSignal(state))
    }

    /// Begins it. `drain_for` is how long exec, port-forward and logs may go on. A second start changes nothing.
    pub fn start(&self, drain_for: Duration) {
        if self.0.deadline.set(Instant::now() + drain_for).is_ok() {
            self.0.started.cancel();
        }
    }
}

impl DrainSignal {
    /// Waits until it begins; returns when what still runs then must be cut.
    pub async fn started(&self) -> Instant {
        self.0.started.cancelled().await;
        self.deadline()
    }

    /// Waits for the deadline.
    pub async fn over(&self) {
        let deadline = self.started().await;
        tokio::time::sleep_until(deadline).await;
    }

    /// Whether it has begun.
    pub fn has_started(&self) -> bool {
        self.0.started.is_cancelled()
    }

    pub(crate) fn started_owned(&self) -> WaitForCancellationFutureOwned {
        self.0.started.clone().cancelled_owned()
    }

    fn deadline(&self) -> Instant {
        self.0.deadline.get().copied().unwrap_or_else(Instant::now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_begins_once_and_keeps_its_first_deadline() {
        let (drain, signal) = Drain::new();
        assert!(!signal.has_started());
        drain.start(Duration::from_secs(5));
        drain.start(Duration::from_secs(500));
        let before = Instant::now();
        signal.over().await;
        assert_eq!(before.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_is_dropped_never_begins() {
        let (drain, signal) = Drain::new();
        drop(drain);
        assert!(tokio::time::timeout(Duration::from_mins(1), signal.started()).await.is_err());
    }
}
