//! Waiting for changes below cgroup directories: inotify where it works, a slow poll where it doesn't.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};

/// Inotify's buffer: the largest event is 272 bytes, and which event it was does not matter here.
const BUFFER: usize = 4096;

/// Wakes when one of the watched directories or files changes.
///
/// The number of inotify instances is bounded per user (`fs.inotify.max_user_instances`): without one this wakes by the clock alone.
pub(crate) struct Changes {
    events: Option<EventStream<[u8; BUFFER]>>,
}

impl Changes {
    /// Watches nothing yet.
    pub(crate) fn new() -> Self {
        let events = Inotify::init().and_then(|inotify| inotify.into_event_stream([0; BUFFER]));
        if let Err(error) = &events {
            tracing::warn!(%error, "no inotify instance; cgroups are polled (raise fs.inotify.max_user_instances)");
        }
        Self { events: events.ok() }
    }

    /// Watches a directory for entries that come and go, or a file for changes. Watching one twice is the same as once.
    ///
    /// What is not there can't be watched: the poll finds it when it comes.
    pub(crate) fn watch(&mut self, path: &Path) {
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MODIFY
            | WatchMask::DELETE_SELF
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM;
        if let Some(events) = &self.events
            && let Err(error) = events.watches().add(path, mask)
        {
            tracing::debug!(path = %path.display(), %error, "not watched");
        }
    }

    /// Returns at the next change, or after `poll`, whichever comes first.
    pub(crate) async fn next(&mut self, poll: Duration) {
        let Some(events) = &mut self.events else { return tokio::time::sleep(poll).await };
        match tokio::time::timeout(poll, events.next()).await {
            Ok(Some(Ok(_))) | Err(_) => {}
            // A stream that fails at once would spin.
            Ok(Some(Err(_)) | None) => {
                self.events = None;
                tokio::time::sleep(poll).await;
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
    async fn a_directory_that_appears_is_noticed_long_before_the_poll() {
        let root = tempfile::tempdir().unwrap();
        let mut changes = Changes::new();
        changes.watch(root.path());
        fs::create_dir(root.path().join("pod1")).unwrap();
        let start = Instant::now();
        changes.next(LONG).await;
        assert!(start.elapsed() < LONG / 2);
    }

    #[tokio::test]
    async fn what_cannot_be_watched_is_polled() {
        let mut changes = Changes::new();
        changes.watch(Path::new("/nonexistent"));
        let start = Instant::now();
        changes.next(Duration::from_millis(20)).await;
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
