//! Two pods that differ in the guard alone: what reaches the API server from one must not from the other.

use std::ops::Deref;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Pod;

/// A guarded pod and an unguarded one, on one node, with the same capabilities.
#[derive(Debug)]
pub struct Arena {
    /// Under guard.
    pub agent: Pod,
    /// The positive control.
    pub ordinary: Pod,
}

/// Arenas, each lent to one test at a time: counts of refusals are exact only where nobody else tries.
#[derive(Debug)]
pub struct Ring {
    free: Mutex<Vec<&'static Arena>>,
    returned: Condvar,
}

/// An arena on loan.
#[derive(Debug)]
pub struct Lent<'a> {
    ring: &'a Ring,
    arena: &'static Arena,
}

impl Ring {
    /// Of these arenas, which live as long as the test program does.
    pub fn new(arenas: Vec<Arena>) -> Self {
        let free = arenas.into_iter().map(|arena| &*Box::leak(Box::new(arena))).collect();
        Self { free: Mutex::new(free), returned: Condvar::new() }
    }

    /// Waits for one that is free.
    pub fn enter(&self) -> Lent<'_> {
        let mut free = self.free();
        loop {
            if let Some(arena) = free.pop() {
                return Lent { ring: self, arena };
            }
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<&'static Arena>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Lent<'_> {
    type Target = Arena;

    fn deref(&self) -> &Arena {
        self.arena
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.ring.free().push(self.arena);
        self.ring.returned.notify_one();
    }
}
