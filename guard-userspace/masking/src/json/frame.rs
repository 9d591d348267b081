//! Where in an object the parser stands.

use std::ops::Range;

use crate::keys::KeyClass;

/// What an object is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unknown,
    Secret,
    SecretList,
    Other,
}

/// What the strings of a container are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Plain,
    /// `data` of a Secret, or with `base64: false` its `stringData`.
    SecretData {
        base64: bool,
    },
    /// That of an object whose kind has not come yet.
    Perhaps {
        base64: bool,
    },
}

/// A string that waits for what its object turns out to be. The range is that between the quotes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) range: Range<usize>,
    pub(super) base64: bool,
    pub(super) path: Vec<u8>,
}

/// One container.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts of a container, learnt one by one")]
pub(super) struct Frame {
    pub(super) array: bool,
    pub(super) kind: Kind,
    pub(super) role: Role,
    /// `type` says that it is a Secret's.
    pub(super) secret_type: bool,
    /// What the key of an array says of its elements.
    pub(super) class: KeyClass,
    /// What `name` says of `value`.
    pub(super) name: Option<KeyClass>,
    /// The array is `items` of a list of Secrets.
    pub(super) secret_items: bool,
    /// The container belongs to docker's `auths`.
    pub(super) auths: bool,
    pub(super) index: u32,
    /// Length of the path before this container.
    pub(super) path: usize,
    pub(super) waiting: Vec<Waiting>,
    /// `value` that came before its `name`.
    pub(super) unnamed: Option<Waiting>,
    held_from: Option<usize>,
}

impl Frame {
    pub(super) const fn new(array: bool, path: usize) -> Self {
        Self {
            array,
            kind: Kind::Unknown,
            role: Role::Plain,
            secret_type: false,
            class: KeyClass::Plain,
            name: None,
            secret_items: false,
            auths: false,
            index: 0,
            path,
            waiting: Vec::new(),
            unnamed: None,
            held_from: None,
        }
    }

    pub(super) const fn held_from(&self) -> Option<usize> {
        self.held_from
    }

    /// Holds from here on. Whether nothing was held before.
    pub(super) fn hold(&mut self, from: usize) -> bool {
        let first = self.held_from.is_none();
        self.held_from = Some(self.held_from.map_or(from, |held| held.min(from)));
        first
    }

    /// Lets go. Whether something was held.
    pub(super) const fn let_go(&mut self) -> bool {
        self.held_from.take().is_some()
    }

    /// So many bytes left.
    pub(super) fn moved(&mut self, count: usize) {
        if let Some(held) = &mut self.held_from {
            *held = held.saturating_sub(count);
        }
        for waiting in self.waiting.iter_mut().chain(&mut self.unnamed) {
            waiting.range = waiting.range.start - count..waiting.range.end - count;
        }
    }
}
