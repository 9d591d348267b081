//! Whether somebody is about to write more.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

/// How often in a row sending is put off at most.
const PATIENCE: u32 = 16;

/// Counts those who run beside a connection and write to it, while they do. Clones share the count.
#[derive(Clone, Default)]
pub(crate) struct Polls(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    under_way: usize,
    ended: u64,
    put_off: u32,
    /// The connection, if it waits for their end.
    waiting: Option<Waker>,
}

impl Polls {
    /// Runs `future`, and counts it while it is polled.
    pub(crate) async fn count<F: Future>(self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let _poll = self.begin();
            future.as_mut().poll(cx)
        })
        .await
    }

    /// How many polls are over.
    pub(super) fn ended(&self) -> u64 {
        self.state().ended
    }

    /// Whether nobody writes, and nobody has since `ended`. If not, the task is woken to look again.
    pub(super) fn are_over(&self, ended: u64, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        if state.put_off == PATIENCE || state.under_way == 0 && state.ended == ended {
            state.put_off = 0;
            return true;
        }
        state.put_off += 1;
        if state.under_way == 0 {
            cx.waker().wake_by_ref();
        } else {
            state.waiting = Some(cx.waker().clone());
        }
        false
    }

    fn begin(&self) -> Poll<'_> {
        self.state().under_way += 1;
        Poll(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Poll<'a>(&'a Polls);

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        state.ended = state.ended.wrapping_add(1);
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_one_poll_is_not_sent_in_parts() {
        let polls = Polls::default();
        let cx = Context::from_waker(Waker::noop());
        let before = polls.ended();
        assert!(polls.are_over(before, &cx));
        let poll = polls.begin();
        assert!(!polls.are_over(before, &cx));
        drop(poll);
        assert!(!polls.are_over(before, &cx), "it may have written what the connection has not seen");
        assert!(polls.are_over(polls.ended(), &cx));
    }

    #[test]
    fn sending_is_not_put_off_for_ever() {
        let polls = Polls::default();
        let _poll = polls.begin();
        let cx = Context::from_waker(Waker::noop());
        assert!((0..=PATIENCE).any(|_| polls.are_over(0, &cx)));
    }
}
