//! What an expression may cost, before and while it runs.

/// Bytes of source.
pub const MAX_SOURCE_BYTES: usize = 32 * 1024;

/// Nodes of the syntax tree, those that macros add included.
pub const MAX_NODES: usize = 16 * 1024;

/// Levels of the syntax tree, and of brackets. A chain such as `a.b.c` or `1 + 2 + 3` has a level per link; one of `&&` or `||` has
/// one level.
pub const MAX_DEPTH: usize = 96;

/// Levels of nested values that are compared, rendered or measured.
pub const MAX_VALUE_DEPTH: usize = 256;

/// What one evaluation may use. Whatever is exceeded ends it with an error that no `||` absorbs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// As cel-go counts it; Kubernetes' own limit is a million for one expression.
    pub cost: u64,
    /// Steps, counted by this crate: nodes evaluated, items visited, 16 bytes read or written. It is what bounds the time, since many steps
    /// cost nothing in cel-go's account: a literal, a branch of a conditional.
    pub steps: u64,
    /// Bytes of values made on the way, freed or not.
    pub bytes: u64,
}

impl Limits {
    /// A million of cost, as Kubernetes; steps for well under 10 ms; 1 MiB.
    pub const PER_EXPRESSION: Self = Self { cost: 1_000_000, steps: 150_000, bytes: 1024 * 1024 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::PER_EXPRESSION
    }
}
