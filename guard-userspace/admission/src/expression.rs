//! What a rule asks of a pod, written once: [`cel`](Test::cel) is the text for the API server, [`holds`](Test::holds) the answer here.
//!
//! Only what both can say alike is in it. A path that leads nowhere is absent, never an error.

mod cel;
mod evaluate;

use serde_json::Value;

use crate::parts::Template;

pub(crate) use cel::{literal, quoted};
pub(crate) use evaluate::Facts;

/// A value of the pod, of the settings, or of the request.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    root: Root,
    path: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Root {
    /// One of the facts of [`crate::facts`].
    Fact(&'static str),
    /// What [`Test::Every`] or [`Test::Some`] goes through.
    Item(&'static str),
}

/// Something that is so, or not.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    /// The value is exactly this. `null` stands for: there is none.
    Is(Term, Value),
    /// The value is exactly what this makes.
    Made(Term, Template),
    /// Both are the same, or both absent.
    Same(Term, Term),
    /// It is there.
    Present(Term),
    /// It is one of these.
    OneOf(Term, Vec<&'static str>),
    /// It is an item of that list.
    Among(Term, Term),
    /// It is a text that starts so.
    StartsWith(Term, &'static str),
    /// The first is an image, of whatever tag or digest, of the repository that the second names.
    OfRepository(Term, Term),
    /// It has no fields but these.
    HasOnly(Term, Vec<&'static str>),
    /// Every item of the list; an absent list has none.
    Every(Term, &'static str, Box<Test>),
    /// At least one item of the list.
    Some(Term, &'static str, Box<Test>),
    /// All of them.
    All(Vec<Test>),
    /// At least one.
    Any(Vec<Test>),
    /// The opposite.
    Not(Box<Test>),
}

/// A fact, by its name.
pub(crate) fn fact(name: &'static str) -> Term {
    Term { root: Root::Fact(name), path: Vec::new() }
}

/// The pod, or the template of one.
pub(crate) fn pod(path: &str) -> Term {
    fact("pod").at(path)
}

/// What the administrator has set.
pub(crate) fn settings(path: &str) -> Term {
    fact("settings").at(path)
}

/// The item that an enclosing test goes through.
pub(crate) fn item(name: &'static str) -> Term {
    Term { root: Root::Item(name), path: Vec::new() }
}

impl Term {
    /// Fields, separated by dots.
    pub(crate) fn at(mut self, path: &str) -> Self {
        self.path.extend(path.split('.').map(str::to_owned));
        self
    }

    /// One field, whatever its name.
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.path.push(key.to_owned());
        self
    }

    pub(crate) fn is(self, value: impl Into<Value>) -> Test {
        Test::Is(self, value.into())
    }

    /// `false` is what the API server says by leaving it out.
    pub(crate) fn not_true(self) -> Test {
        !self.is(true)
    }

    pub(crate) fn same(self, other: Term) -> Test {
        Test::Same(self, other)
    }

    pub(crate) fn present(self) -> Test {
        Test::Present(self)
    }

    pub(crate) fn absent(self) -> Test {
        !Test::Present(self)
    }

    pub(crate) fn one_of(self, texts: &[&'static str]) -> Test {
        Test::OneOf(self, texts.to_vec())
    }

    pub(crate) fn among(self, list: Term) -> Test {
        Test::Among(self, list)
    }

    pub(crate) fn starts_with(self, text: &'static str) -> Test {
        Test::StartsWith(self, text)
    }

    pub(crate) fn of_repository(self, repository: Term) -> Test {
        Test::OfRepository(self, repository)
    }

    pub(crate) fn has_only(self, fields: &[&'static str]) -> Test {
        Test::HasOnly(self, fields.to_vec())
    }

    /// Every item, which the test calls by this name.
    pub(crate) fn every(self, name: &'static str, test: Test) -> Test {
        Test::Every(self, name, Box::new(test))
    }

    /// At least one item, which the test calls by this name.
    pub(crate) fn some(self, name: &'static str, test: Test) -> Test {
        Test::Some(self, name, Box::new(test))
    }
}

impl Test {
    pub(crate) fn or(self, other: Test) -> Self {
        Test::Any(vec![self, other])
    }

    pub(crate) fn and(self, other: Test) -> Self {
        Test::All(vec![self, other])
    }
}

impl std::ops::Not for Test {
    type Output = Self;

    fn not(self) -> Self {
        Test::Not(Box::new(self))
    }
}
