//! Where in a document a statement stands: one level for each mapping that is open.

use std::ops::Range;

use crate::keys::KeyClass;

/// What a mapping is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unknown,
    Secret,
    SecretList,
    Other,
}

/// What a mapping's scalars are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Plain,
    SecretData {
        base64: bool,
    },
    /// The same of a mapping whose kind has not come yet.
    Perhaps {
        base64: bool,
    },
}

/// A scalar that waits for what its mapping turns out to be.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) range: Range<usize>,
    pub(super) base64: bool,
    pub(super) path: String,
}

/// An open mapping.
#[derive(Debug)]
pub(super) struct Level {
    /// Column of its keys.
    pub(super) indent: usize,
    pub(super) kind: Kind,
    pub(super) role: Role,
    pub(super) secret_type: bool,
    /// The key that came last.
    pub(super) key: Vec<u8>,
    /// Number of the element of the sequence under that key.
    pub(super) elements: u32,
    /// What `name` says of `value`.
    pub(super) name: Option<KeyClass>,
    pub(super) path: String,
    pub(super) waiting: Vec<Waiting>,
    held_from: Option<usize>,
}

impl Level {
    pub(super) const fn new(indent: usize, path: String, role: Role) -> Self {
        Self {
            indent,
            kind: Kind::Unknown,
            role,
            secret_type: false,
            key: Vec::new(),
            elements: 0,
            name: None,
            path,
            waiting: Vec::new(),
            held_from: None,
        }
    }

    pub(super) const fn held_from(&self) -> Option<usize> {
        self.held_from
    }

    pub(super) fn wait(&mut self, waiting: Waiting) {
        let from = waiting.range.start;
        self.held_from = Some(self.held_from.map_or(from, |held| held.min(from)));
        self.waiting.push(waiting);
    }

    pub(super) fn let_go(&mut self) -> Vec<Waiting> {
        self.held_from = None;
        std::mem::take(&mut self.waiting)
    }

    /// So many bytes left.
    pub(super) fn moved(&mut self, count: usize) {
        self.held_from = self.held_from.map(|held| held.saturating_sub(count));
        for waiting in &mut self.waiting {
            waiting.range = waiting.range.start - count..waiting.range.end - count;
        }
    }
}
