//! Waiting for changes below cgroup directories: inotify where it works, a slow poll where it doesn't.
//!
//! One inotify instance serves all keepers of a node: there are 128 for all of root's processes by default, the kubelet's and the
//! runtime's among them (`fs.inotify.max_user_instances`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of one read: some dozen events, of 272 bytes at most.
const BUFFER: usize = 4096;

/// Pause after a read that failed, so that it does not spin.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// The inotify instance of a node.
pub(crate) struct Watcher {
    /// None where no instance was to be had: then everything is polled.
    inotify: Option<(Watches, AbortOnDropHandle<()>)>,
    waiting: Arc<Waiting>,
}

/// Who is to be woken by which watch.
#[derive(Default)]
struct Waiting(Mutex<HashMap<WatchDescriptor, Vec<Weak<Notify>>>>);

/// Wakes when one of the watched directories or files changes.
pub(crate) struct Changes {
    watcher: Arc<Watcher>,
    notify: Arc<Notify>,
}

impl Watcher {
    /// Watches nothing yet. Called on a runtime, which reads the events.
    pub(crate) fn new() -> Arc<Self> {
        let waiting = Arc::<Waiting>::default();
        let inotify = Inotify::init().and_then(|inotify| {
            let watches = inotify.watches();
            let events = inotify.into_event_stream([0; BUFFER])?;
            let task = tokio::spawn(read(events, watches.clone(), Arc::clone(&waiting)));
            Ok((watches, AbortOnDropHandle::new(task)))
        });
        if let Err(error) = &inotify {
            tracing::warn!(%error, "no inotify instance; cgroups are polled (raise fs.inotify.max_user_instances)");
        }
        Arc::new(Self { inotify: inotify.ok(), waiting })
    }

    /// For one keeper.
    pub(crate) fn changes(self: &Arc<Self>) -> Changes {
        Changes { watcher: Arc::clone(self), notify: Arc::default() }
    }
}

impl Changes {
    /// Watches a directory for entries that come and go, or a file for changes. Watching one twice is the same as once.
    ///
    /// What is not there can't be watched: the poll finds it when it comes. Look at it after this call: a change before it wakes nobody.
    pub(crate) fn watch(&self, path: &Path) {
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MODIFY
            | WatchMask::DELETE_SELF
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM;
        let Some((watches, _)) = &self.watcher.inotify else { return };
        match watches.clone().add(path, mask) {
            Ok(watch) => self.watcher.waiting.add(watch, &self.notify),
            Err(error) => tracing::debug!(path = %path.display(), %error, "not watched"),
        }
    }

    /// Returns at the next change, or after `poll`, whichever comes first.
    pub(crate) async fn next(&self, poll: Duration) {
        // Out of time is an answer as good as a change.
        let _ = tokio::time::timeout(poll, self.notify.notified()).await;
    }
}

impl Waiting {
    fn add(&self, watch: WatchDescriptor, notify: &Arc<Notify>) {
        let mut waiting = self.lock();
        let list = waiting.entry(watch).or_default();
        list.retain(|known| known.strong_count() > 0);
        if !list.iter().any(|known| known.as_ptr() == Arc::as_ptr(notify)) {
            list.push(Arc::downgrade(notify));
        }
    }

    /// Wakes all who wait for this; false where nobody does any more.
    fn wake(&self, watch: &WatchDescriptor) -> bool {
        let mut waiting = self.lock();
        let Some(list) = waiting.get_mut(watch) else { return true };
        list.retain(|notify| notify.upgrade().inspect(|notify| notify.notify_one()).is_some());
        let is_wanted = !list.is_empty();
        if !is_wanted {
            waiting.remove(watch);
        }
        is_wanted
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WatchDescriptor, Vec<Weak<Notify>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(mut events: EventStream<[u8; BUFFER]>, mut watches: Watches, waiting: Arc<Waiting>) {
    while let Some(event) = events.next().await {
        match event {
            Ok(event) if event.mask.contains(EventMask::IGNORED) => {
                waiting.wake(&event.wd);
                waiting.lock().remove(&event.wd);
            }
            Ok(event) if waiting.wake(&event.wd) => {}
            // Gone already, perhaps: then there is nothing to end.
            Ok(event) => drop(watches.remove(event.wd)),
            Err(error) => {
                tracing::warn!(%error, "reading inotify events failed; cgroups are polled meanwhile");
                tokio::time::sleep(READ_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_directory_that_appears_wakes_all_who_wait_for_it_long_before_the_poll() {
        let root = tempfile::tempdir().unwrap();
        let watcher = Watcher::new();
        let (one, other) = (watcher.changes(), watcher.changes());
        one.watch(root.path());
        other.watch(root.path());
        fs::create_dir(root.path().join("pod1")).unwrap();
        let start = Instant::now();
        one.next(LONG).await;
        other.next(LONG).await;
        assert!(start.elapsed() < LONG / 2);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_watched_no_more() {
        let root = tempfile::tempdir().unwrap();
        let watcher = Watcher::new();
        watcher.changes().watch(root.path());
        fs::create_dir(root.path().join("pod1")).unwrap();
        for _ in 0..100 {
            if watcher.waiting.lock().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still watched");
    }

    #[tokio::test]
    async fn what_cannot_be_watched_is_polled() {
        let changes = Watcher::new().changes();
        changes.watch(Path::new("/nonexistent"));
        let start = Instant::now();
        changes.next(Duration::from_millis(20)).await;
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
