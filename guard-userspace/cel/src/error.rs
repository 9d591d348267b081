//! What goes wrong: when an expression is compiled, and when it is evaluated.

use thiserror::Error;

/// An expression that can't be compiled: where, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{line}:{column}: {reason}")]
pub struct CompileError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// As a compiler says it. Texts are those of Kubernetes' own CEL where that has one.
    pub reason: String,
}

impl CompileError {
    /// An error at a byte offset of `source`.
    pub(crate) fn at(source: &str, offset: usize, reason: impl Into<String>) -> Self {
        let mut end = offset.min(source.len());
        while !source.is_char_boundary(end) {
            end -= 1;
        }
        let before = &source[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, reason: reason.into() }
    }
}

/// An evaluation that has no value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EvaluationError {
    /// What CEL calls an error: `false && error` is false, `true || error` is true.
    #[error("{0}")]
    Failed(String),
    /// Kubernetes' limit.
    #[error(
        "operation cancelled: actual cost limit exceeded (limit {limit}); iterate over less, or test what is cheap first"
    )]
    Cost {
        /// What was allowed.
        limit: u64,
    },
    /// This crate's own limit on work.
    #[error("evaluation stopped after {limit} steps; iterate over less, or test what is cheap first")]
    Steps {
        /// What was allowed.
        limit: u64,
    },
    /// Values grew too large.
    #[error("evaluation stopped: its values would take more than {limit} bytes")]
    Bytes {
        /// What was allowed.
        limit: u64,
    },
    /// Values, or variables that use variables, are nested too deeply.
    #[error("evaluation stopped: values or variables are nested more than {limit} levels deep")]
    Depth {
        /// What was allowed.
        limit: usize,
    },
}

impl EvaluationError {
    pub(crate) fn failed(message: impl Into<String>) -> Box<Self> {
        Box::new(Self::Failed(message.into()))
    }

    /// Arguments whose types no overload of the function takes, known only now.
    pub(crate) fn no_such_overload() -> Box<Self> {
        Self::failed("no such overload")
    }

    /// Whether `&&`, `||` and macros may go on after it. A limit ends the whole evaluation.
    pub(crate) fn can_be_absorbed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}
