//! What an evaluation has used so far.

use crate::error::EvaluationError;
use crate::limits::Limits;

type Outcome<T> = Result<T, Box<EvaluationError>>;

/// Counts, and stops what goes beyond a limit before it is done.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    cost: u64,
    steps: u64,
    bytes: u64,
}

/// Bytes that one step reads or writes.
const BYTES_PER_STEP: u64 = 16;

impl Meter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, cost: 0, steps: 0, bytes: 0 }
    }

    /// For constants, which are worked out once, when the expression is compiled.
    pub(crate) fn for_constants() -> Self {
        Self::new(Limits::PER_EXPRESSION)
    }

    /// The cost as cel-go counts it.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Steps of this crate's own account.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn charge(&mut self, cost: u64) -> Outcome<()> {
        self.cost = self.cost.saturating_add(cost);
        let limit = self.limits.cost;
        if self.cost > limit { Err(Box::new(EvaluationError::Cost { limit })) } else { Ok(()) }
    }

    /// Takes back what an observed test for presence doesn't cost.
    pub(crate) fn refund(&mut self, cost: u64) {
        self.cost = self.cost.saturating_sub(cost);
    }

    pub(crate) fn step(&mut self) -> Outcome<()> {
        self.work(1)
    }

    pub(crate) fn work(&mut self, steps: u64) -> Outcome<()> {
        self.steps = self.steps.saturating_add(steps);
        let limit = self.limits.steps;
        if self.steps > limit { Err(Box::new(EvaluationError::Steps { limit })) } else { Ok(()) }
    }

    /// Before `bytes` are gone through.
    pub(crate) fn read(&mut self, bytes: usize) -> Outcome<()> {
        self.work(bytes as u64 / BYTES_PER_STEP)
    }

    /// Before `bytes` are made.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Outcome<()> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let limit = self.limits.bytes;
        if self.bytes > limit {
            return Err(Box::new(EvaluationError::Bytes { limit }));
        }
        self.work(bytes as u64 / BYTES_PER_STEP)
    }

    /// Before a list or map of so many items is made.
    pub(crate) fn allocate_items(&mut self, items: usize) -> Outcome<()> {
        self.allocate(items.saturating_mul(size_of::<crate::value::Value<'_>>()))
    }
}
