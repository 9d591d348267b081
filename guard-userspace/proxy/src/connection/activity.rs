//! Whether a connection is in use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

/// Counts the exchanges of one connection. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    active: AtomicUsize,
    ever: AtomicBool,
    changed: Notify,
}

/// One exchange under way, until dropped.
#[derive(Debug)]
pub(crate) struct Active(Arc<Count>);

impl Activity {
    /// Begins one.
    pub(crate) fn begin(&self) -> Active {
        self.0.active.fetch_add(1, Ordering::AcqRel);
        self.0.ever.store(true, Ordering::Release);
        self.0.changed.notify_one();
        Active(Arc::clone(&self.0))
    }

    pub(crate) fn was_never_used(&self) -> bool {
        !self.0.ever.load(Ordering::Acquire)
    }

    /// Waits until nothing has been under way for `time`.
    pub(crate) async fn idle_for(&self, time: Duration) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.active.load(Ordering::Acquire) > 0 {
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
    use tokio::time::Instant;

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
