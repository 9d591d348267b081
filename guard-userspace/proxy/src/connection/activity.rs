//! Whether a connection is in use, and the head that comes while it is not.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::quota::{Held, Limit, Quota};

/// Bytes of a head that are not on the workload's account: ordinary ones are smaller, and connections are limited.
const SMALL_HEAD: usize = 16 << 10;

/// Counts the exchanges of one connection. Clones share the count.
#[derive(Clone, Default)]
pub(crate) struct Activity(Arc<Count>);

#[derive(Default)]
struct Count {
    active: AtomicUsize,
    ever: AtomicBool,
    changed: Notify,
    /// In HTTP/1.1 what comes while nothing is under way is the next request's head.
    head: Mutex<Head>,
}

/// One exchange under way, or one body of a request, until dropped.
pub(crate) struct Active(Arc<Count>);

/// A request's head that is not complete.
#[derive(Default)]
pub(crate) struct Head {
    begun: Option<Instant>,
    bytes: usize,
    held: Option<Held>,
}

impl Head {
    /// Adds bytes that have come, on the workload's account if they are many.
    pub(crate) fn add(&mut self, bytes: usize, quota: &Quota) -> Result<(), Limit> {
        self.begun.get_or_insert_with(Instant::now);
        self.bytes += bytes;
        let Some(large) = self.bytes.checked_sub(SMALL_HEAD) else { return Ok(()) };
        let fits = if let Some(held) = &mut self.held {
            held.try_grow(bytes)
        } else {
            self.held = quota.held.try_hold(large);
            self.held.is_some()
        };
        if fits { Ok(()) } else { Err(Limit::HeldBytes) }
    }

    /// It is complete.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }

    /// When its first byte came.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.begun
    }
}

impl Activity {
    /// Begins one.
    pub(crate) fn begin(&self) -> Active {
        self.0.active.fetch_add(1, Ordering::AcqRel);
        self.0.ever.store(true, Ordering::Release);
        self.0.changed.notify_one();
        self.head().end();
        Active(Arc::clone(&self.0))
    }

    pub(crate) fn is_active(&self) -> bool {
        self.0.active.load(Ordering::Acquire) > 0
    }

    /// In HTTP/1.1: bytes have come.
    pub(crate) fn received(&self, bytes: usize, quota: &Quota) -> Result<(), Limit> {
        if bytes == 0 || self.is_active() { Ok(()) } else { self.head().add(bytes, quota) }
    }

    /// In HTTP/1.1: when the head began that is not complete.
    pub(crate) fn head_begun(&self) -> Option<Instant> {
        self.head().begun()
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        self.0.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn was_never_used(&self) -> bool {
        !self.0.ever.load(Ordering::Acquire)
    }

    /// Waits until nothing has been under way for `time`.
    pub(crate) async fn idle_for(&self, time: Duration) {
        loop {
            let changed = self.0.changed.notified();
            if self.is_active() {
                changed.await;
            } else if tokio::time::timeout(time, changed).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_watch_is_never_idle() {
        let activity = Activity::default();
        let watch = activity.begin();
        let idle = activity.idle_for(Duration::from_secs(10));
        assert!(tokio::time::timeout(Duration::from_hours(1), idle).await.is_err());
        let ended = Instant::now();
        drop(watch);
        activity.idle_for(Duration::from_secs(10)).await;
        assert!(ended.elapsed() >= Duration::from_secs(10));
        assert!(!activity.was_never_used());
    }
}
