//! A rate with a burst.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Fills by a number of tokens each second, up to a burst.
pub(crate) struct Bucket {
    /// What a token takes to come.
    each: Duration,
    /// How long an empty bucket takes to fill.
    burst: Duration,
    /// When it will be full, or was.
    full: Mutex<Instant>,
}

impl Bucket {
    /// Full. `rate` in tokens each second, at least one.
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        let each = Duration::from_secs(1) / rate.max(1);
        Self { each, burst: each.saturating_mul(burst.max(1)), full: Mutex::new(Instant::now()) }
    }

    /// Takes tokens, if they are there.
    pub(crate) fn take(&self, tokens: u32) -> bool {
        let now = Instant::now();
        self.reserve(tokens, now, now).is_some()
    }

    /// Takes one that will be there by `deadline`; returns when.
    pub(crate) fn take_until(&self, deadline: Instant) -> Option<Instant> {
        self.reserve(1, Instant::now(), deadline)
    }

    /// Takes a token for something that has happened already, there or not. The debt is no more than a burst.
    pub(crate) fn owe_one(&self) {
        let now = Instant::now();
        let mut full = self.full();
        *full = ((*full).max(now) + self.each).min(now + self.burst * 2);
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        *self.full() + self.each > Instant::now() + self.burst
    }

    /// Puts tokens in, as far as there is room.
    pub(crate) fn give(&self, tokens: u32) {
        let now = Instant::now();
        let mut full = self.full();
        if *full > now {
            *full = full.checked_sub(self.each * tokens).map_or(now, |earlier| earlier.max(now));
        }
    }

    fn reserve(&self, tokens: u32, now: Instant, deadline: Instant) -> Option<Instant> {
        let mut full = self.full();
        let after = (*full).max(now) + self.each * tokens;
        // Times before the machine's start can't be told: there the burst is not yet used up.
        let ready = after.checked_sub(self.burst).map_or(now, |ready| ready.max(now));
        if ready > deadline {
            return None;
        }
        *full = after;
        Some(ready)
    }

    fn full(&self) -> MutexGuard<'_, Instant> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let bucket = Bucket::new(10, 5);
        assert_eq!((0..20).filter(|_| bucket.take(1)).count(), 5);
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!((0..20).filter(|_| bucket.take(1)).count(), 3);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!((0..20).filter(|_| bucket.take(1)).count(), 5, "no more than the burst is saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_wait_gets_his_turn_and_who_would_wait_too_long_takes_none() {
        let bucket = Bucket::new(10, 1);
        let start = Instant::now();
        let deadline = start + Duration::from_millis(250);
        let turns: Vec<_> = std::iter::from_fn(|| bucket.take_until(deadline)).collect();
        assert_eq!(turns, [0, 100, 200].map(|millis| start + Duration::from_millis(millis)));
        assert_eq!(bucket.take_until(deadline), None);
        tokio::time::advance(Duration::from_millis(300)).await;
        assert!(bucket.take(1), "what was refused has taken nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_owed_must_come_in_before_there_is_more() {
        let bucket = Bucket::new(10, 5);
        for _ in 0..100 {
            bucket.owe_one();
        }
        assert!(bucket.is_empty());
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(bucket.is_empty(), "a burst is owed");
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(!bucket.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_can_be_taken_up_to_the_burst() {
        let bucket = Bucket::new(1, 10);
        assert!(bucket.take(10) && !bucket.take(1));
        bucket.give(3);
        assert!(bucket.take(3) && !bucket.take(1));
        bucket.give(1000);
        assert!(bucket.take(10) && !bucket.take(1));
    }
}
