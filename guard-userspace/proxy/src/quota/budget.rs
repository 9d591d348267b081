//! Bytes that one workload makes the guard hold.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use prometheus::IntGauge;
use tokio::sync::{Notify, futures::OwnedNotified};

/// One workload's budget. Clones share it.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Shared>);

struct Shared {
    limit: usize,
    held: AtomicUsize,
    gauge: IntGauge,
    /// Some bytes were let go.
    less: Arc<Notify>,
}

/// Bytes that are held until dropped.
pub(crate) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize, gauge: IntGauge) -> Self {
        Self(Arc::new(Shared { limit, held: AtomicUsize::new(0), gauge, less: Arc::default() }))
    }

    /// Takes `bytes`, if there is room.
    pub(crate) fn try_hold(&self, bytes: usize) -> Option<Held> {
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.0.limit);
        self.0.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(self.counted(bytes))
    }

    /// Takes `bytes`, with room or without.
    fn hold(&self, bytes: usize) -> Held {
        self.0.held.fetch_add(bytes, Ordering::AcqRel);
        self.counted(bytes)
    }

    /// Whether bodies may have more: half is theirs, so that readers who stop leave room for requests.
    fn has_room_for_bodies(&self) -> bool {
        self.0.held.load(Ordering::Acquire) < self.0.limit / 2
    }

    fn counted(&self, bytes: usize) -> Held {
        self.0.gauge.add(signed(bytes));
        Held { budget: self.clone(), bytes }
    }
}

impl Held {
    /// Takes more, if there is room.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        let Some(mut more) = self.budget.try_hold(bytes) else { return false };
        self.bytes += std::mem::take(&mut more.bytes);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.0.held.fetch_sub(self.bytes, Ordering::AcqRel);
            self.budget.0.gauge.sub(signed(self.bytes));
            self.budget.0.less.notify_one();
        }
    }
}

/// The passage of one body's pieces. Each is on the account until its last copy is gone. While there is no room, one piece at a
/// time passes: whoever reads, however slowly, goes on though others have stopped.
pub(crate) struct Passage {
    budget: Budget,
    own: Arc<Own>,
    /// A wait for room.
    room: Option<Pin<Box<OwnedNotified>>>,
}

/// The pieces of this body that are under way.
#[derive(Default)]
struct Own {
    pieces: AtomicUsize,
    waiting: Mutex<Option<Waker>>,
}

impl Passage {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, own: Arc::default(), room: None }
    }

    /// Waits until one more piece may pass.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waited = false;
        loop {
            if self.is_open() {
                if self.room.take().is_some() || waited {
                    // One is told for each piece that goes, which may have made room for two.
                    self.budget.0.less.notify_one();
                }
                return Poll::Ready(());
            }
            *self.own.waiting() = Some(cx.waker().clone());
            let room = self.room.get_or_insert_with(|| {
                let mut room = Box::pin(Arc::clone(&self.budget.0.less).notified_owned());
                room.as_mut().enable();
                room
            });
            // What went before the wait was set up is seen here, what goes later is told.
            if self.budget.has_room_for_bodies() || self.own.pieces.load(Ordering::Acquire) == 0 {
                continue;
            }
            ready!(room.as_mut().poll(cx));
            self.room = None;
            waited = true;
        }
    }

    /// Puts a piece on the account.
    pub(crate) fn take(&mut self, data: Bytes) -> Bytes {
        if data.is_empty() {
            return data;
        }
        self.own.pieces.fetch_add(1, Ordering::AcqRel);
        let held = self.budget.hold(data.len());
        Bytes::from_owner(Piece { data, own: Arc::clone(&self.own), _held: held })
    }

    fn is_open(&self) -> bool {
        self.budget.has_room_for_bodies() || self.own.pieces.load(Ordering::Acquire) == 0
    }
}

impl Own {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece under way.
struct Piece {
    data: Bytes,
    own: Arc<Own>,
    _held: Held,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.own.pieces.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waiting = self.own.waiting().take();
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    fn budget(limit: usize) -> Budget {
        Budget::new(limit, IntGauge::new("held", "held").unwrap())
    }

    async fn pass(passage: &mut Passage, bytes: usize) -> Bytes {
        poll_fn(|cx| passage.poll_open(cx)).await;
        passage.take(Bytes::from(vec![b'x'; bytes]))
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_each_body_has_one_piece_under_way_until_its_last_copy_is_gone() {
        let budget = budget(200 << 10);
        let (mut first, mut second) = (Passage::new(budget.clone()), Passage::new(budget.clone()));
        let stopped = pass(&mut first, 150 << 10).await;
        let piece = pass(&mut second, 10 << 10).await;
        let copy = piece.slice(10..20);
        drop(piece);
        let next = pass(&mut second, 10 << 10);
        let mut next = std::pin::pin!(next);
        assert!(tokio::time::timeout(Duration::from_hours(1), next.as_mut()).await.is_err());
        assert!(budget.try_hold(30 << 10).is_some(), "there is room for requests");
        drop(copy);
        drop(next.await);
        let more = pass(&mut first, 1);
        let mut more = std::pin::pin!(more);
        assert!(tokio::time::timeout(Duration::from_hours(1), more.as_mut()).await.is_err());
        drop(stopped);
        drop(more.await);
        assert_eq!(budget.0.gauge.get(), 0);
    }

    #[tokio::test]
    async fn all_who_wait_are_served_in_the_end() {
        let budget = budget(128 << 10);
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let mut passage = Passage::new(budget.clone());
                tokio::spawn(async move {
                    let mut held = Vec::new();
                    for n in 0..20 {
                        held.push(pass(&mut passage, 20 << 10).await);
                        tokio::task::yield_now().await;
                        // Two at a time, where there is room; else the one must go first.
                        if n % 2 == 1 || !passage.is_open() {
                            held.clear();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
        }
        assert_eq!(budget.0.held.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn what_grows_is_let_go_as_a_whole() {
        let budget = budget(1000);
        let mut held = budget.try_hold(400).unwrap();
        assert!(held.try_grow(600) && !held.try_grow(1));
        drop(held);
        assert!(budget.try_hold(1000).is_some());
    }
}
