//! A workload's share of the processor.
//!
//! The runtime's queues know tasks, not workloads: behind a thousand busy tasks of one pod, another pod's only request would wait for
//! all of them. So of one workload no more tasks run at a time than half of the runtime's threads; the others wait in a line of
//! their own, whatever wakes them, and the runtime's queues hold few of each workload. Nobody is slowed down while nobody else wants to run, except to
//! that half.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use hyper::rt::Executor;

/// One workload's turns. Clones share them.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Shared>);

struct Shared {
    at_once: usize,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    /// Tasks that run, or are called and wait for a thread.
    taken: usize,
    waiting: VecDeque<Arc<Slot>>,
}

/// One task. What wakes it asks for a turn.
struct Slot {
    turns: Turns,
    state: Mutex<State>,
}

struct State {
    /// Of the task itself: only who has a turn is woken by it.
    task: Option<Waker>,
    status: Status,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Nothing to do.
    Idle,
    /// In line.
    Waiting,
    /// It has a turn, and waits for a thread.
    Called,
    /// In its turn.
    Running,
    /// In its turn, and wants another.
    Again,
    /// It is over.
    Gone,
}

impl Turns {
    /// As many at once as leave half of this machine to others.
    pub(crate) fn of_this_machine() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::new((threads / 2).max(1))
    }

    fn new(at_once: usize) -> Self {
        Self(Arc::new(Shared { at_once, line: Mutex::default() }))
    }

    /// Runs `future`, each poll of it in a turn. Boxed, for what takes a future and runs it has room for it twice.
    pub(crate) async fn run<F: Future>(&self, mut future: Pin<Box<F>>) -> F::Output {
        let place = Place::new(self);
        let waker = Waker::from(Arc::clone(&place.0));
        std::future::poll_fn(|cx| {
            let Some(_turn) = place.take_turn(cx) else { return Poll::Pending };
            future.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await
    }

    /// Spawns `future`, each poll of it in a turn.
    pub(crate) fn spawn(&self, future: impl Future<Output: Send> + Send + 'static) {
        let (turns, future) = (self.clone(), Box::pin(future));
        tokio::spawn(async move {
            turns.run(future).await;
        });
    }

    /// Gives a task that waits its turn, or a place in the line.
    fn ask(&self, slot: &Arc<Slot>) {
        let mut line = self.line();
        if line.taken < self.0.at_once {
            line.taken += 1;
            drop(line);
            if !slot.call() {
                self.pass();
            }
        } else {
            line.waiting.push_back(Arc::clone(slot));
        }
    }

    /// Passes a turn on to the next in line, or gives it back.
    fn pass(&self) {
        loop {
            let mut line = self.line();
            let Some(next) = line.waiting.pop_front() else {
                line.taken -= 1;
                return;
            };
            drop(line);
            if next.call() {
                return;
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.0.line)
    }
}

impl<F> Executor<F> for Turns
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}

impl Slot {
    /// Whether it takes the turn.
    fn call(&self) -> bool {
        let mut state = lock(&self.state);
        if state.status != Status::Waiting {
            return false;
        }
        state.status = Status::Called;
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        true
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        match state.status {
            Status::Idle => state.status = Status::Waiting,
            Status::Running => {
                state.status = Status::Again;
                return;
            }
            Status::Waiting | Status::Called | Status::Again | Status::Gone => return,
        }
        drop(state);
        self.turns.ask(self);
    }
}

/// A task's slot, given up when dropped.
struct Place(Arc<Slot>);

/// A turn that is being taken.
struct Turn<'a>(&'a Arc<Slot>);

impl Place {
    /// It wants to run at once.
    fn new(turns: &Turns) -> Self {
        let state = Mutex::new(State { task: None, status: Status::Waiting });
        let slot = Arc::new(Slot { turns: turns.clone(), state });
        turns.ask(&slot);
        Self(slot)
    }

    fn take_turn(&self, cx: &Context<'_>) -> Option<Turn<'_>> {
        let mut state = lock(&self.0.state);
        if state.status == Status::Called {
            state.task = Some(cx.waker().clone());
            state.status = Status::Running;
            return Some(Turn(&self.0));
        }
        match &mut state.task {
            Some(task) => task.clone_from(cx.waker()),
            task => *task = Some(cx.waker().clone()),
        }
        None
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let slot = self.0;
        slot.turns.pass();
        let mut state = lock(&slot.state);
        let again = state.status == Status::Again;
        state.status = if again { Status::Waiting } else { Status::Idle };
        drop(state);
        if again {
            slot.turns.ask(slot);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut lock(&self.0.state).status, Status::Gone);
        if before == Status::Called {
            self.0.turns.pass();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn never_more_run_at_once_and_all_come_to_their_end() {
        let turns = Turns::new(2);
        let (running, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (turns, running, most) = (turns.clone(), Arc::clone(&running), Arc::clone(&most));
                tokio::spawn(async move {
                    turns
                        .run(Box::pin(async {
                            for _ in 0..20 {
                                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                                most.fetch_max(now, Ordering::SeqCst);
                                std::thread::yield_now();
                                running.fetch_sub(1, Ordering::SeqCst);
                                tokio::task::yield_now().await;
                            }
                        }))
                        .await;
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= 2);
        assert_eq!(turns.line().taken, 0);
    }

    #[tokio::test]
    async fn a_turn_of_one_who_is_gone_goes_to_the_next() {
        let turns = Turns::new(1);
        let idle = || Box::pin(turns.run(Box::pin(std::future::pending::<()>())));
        let cx = &mut Context::from_waker(Waker::noop());
        // Called as it comes, and never polled again; the others are in line.
        let first = Place::new(&turns);
        let (mut second, mut third) = (idle(), idle());
        assert!(Pin::new(&mut second).poll(cx).is_pending() && Pin::new(&mut third).poll(cx).is_pending());
        drop(second);
        drop(first);
        assert_eq!(turns.line().taken, 1, "the third is called");
        assert!(Pin::new(&mut third).poll(cx).is_pending());
        assert_eq!(turns.line().taken, 0, "it has nothing to do");
    }

    /// Wants to run again at once; tokio's `yield_now` would wait until the runtime has nothing else to do.
    async fn again() {
        let mut asked = false;
        std::future::poll_fn(|cx| {
            if asked {
                return Poll::Ready(());
            }
            asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// One thread, many busy tasks of one workload, one of another: it comes soon, not after all of them.
    #[tokio::test]
    async fn one_of_another_workload_does_not_wait_behind_all_of_a_busy_one() {
        let (busy, other) = (Turns::new(1), Turns::new(1));
        let polls = Arc::<AtomicUsize>::default();
        for _ in 0..1000 {
            let polls = Arc::clone(&polls);
            busy.spawn(async move {
                loop {
                    polls.fetch_add(1, Ordering::SeqCst);
                    again().await;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = polls.load(Ordering::SeqCst);
        let after = tokio::spawn(async move {
            other
                .run(Box::pin(async {
                    for _ in 0..10 {
                        again().await;
                    }
                }))
                .await;
            polls.load(Ordering::SeqCst)
        });
        let polls = after.await.unwrap() - before;
        assert!(polls < 200, "{polls} polls of the busy one for ten of the other");
    }
}
