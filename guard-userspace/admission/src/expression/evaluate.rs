//! Tests answered here, with the same answers as the API server's.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Root, Term, Test};

/// The facts by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts(BTreeMap<&'static str, Value>);

/// The items that enclosing tests go through, innermost first.
#[derive(Clone, Copy)]
struct Items<'a> {
    name: &'static str,
    value: &'a Value,
    outer: Option<&'a Items<'a>>,
}

impl<'a> Items<'a> {
    fn find(&self, name: &str) -> Option<&'a Value> {
        if self.name == name { Some(self.value) } else { self.outer?.find(name) }
    }
}

impl Facts {
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.insert(name, value.into());
    }

    pub(crate) fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    /// Whether a fact that is one or the other is so.
    pub(crate) fn is(&self, name: &str) -> bool {
        *self.get(name) == Value::Bool(true)
    }
}

impl Term {
    /// The value; `null`, which the API server never writes, counts as absent.
    pub(crate) fn find<'a>(&self, facts: &'a Facts) -> Option<&'a Value> {
        self.find_with(facts, None)
    }

    fn find_with<'a>(&self, facts: &'a Facts, items: Option<&Items<'a>>) -> Option<&'a Value> {
        let root = match self.root {
            Root::Fact(name) => facts.0.get(name),
            Root::Item(name) => items.and_then(|items| items.find(name)),
        };
        self.path.iter().try_fold(root?, |value, key| value.get(key)).filter(|value| !value.is_null())
    }

    /// The items. What is no list where one belongs is an item of no use: no test about all of them holds.
    fn list<'a>(&self, facts: &'a Facts, items: Option<&Items<'a>>) -> Option<&'a [Value]> {
        match self.find_with(facts, items) {
            None => Some(&[]),
            Some(Value::Array(list)) => Some(list),
            Some(_) => None,
        }
    }

    fn text<'a>(&self, facts: &'a Facts, items: Option<&Items<'a>>) -> &'a str {
        self.find_with(facts, items).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Test {
    /// Whether it holds for an item of this name.
    pub(crate) fn holds_for(&self, name: &'static str, value: &Value, facts: &Facts) -> bool {
        self.holds_with(facts, Some(&Items { name, value, outer: None }))
    }

    pub(crate) fn holds(&self, facts: &Facts) -> bool {
        self.holds_with(facts, None)
    }

    fn holds_with<'a>(&self, facts: &'a Facts, items: Option<&Items<'a>>) -> bool {
        let find = |term: &Term| term.find_with(facts, items);
        match self {
            Test::Is(term, value) => find(term).unwrap_or(&Value::Null) == value,
            Test::Made(term, template) => find(term) == Some(&template.json(facts)),
            Test::Same(one, other) => find(one) == find(other),
            Test::Present(term) => find(term).is_some(),
            Test::OneOf(term, texts) => find(term).and_then(Value::as_str).is_some_and(|text| texts.contains(&text)),
            Test::Among(term, list) => {
                find(term).zip(list.list(facts, items)).is_some_and(|(value, list)| list.contains(value))
            }
            Test::StartsWith(term, text) => term.text(facts, items).starts_with(text),
            Test::OfRepository(image, repository) => {
                of_repository(image.text(facts, items), repository.text(facts, items))
            }
            Test::HasOnly(term, fields) => match find(term) {
                None => true,
                Some(value) => {
                    value.as_object().is_some_and(|object| object.keys().all(|key| fields.contains(&key.as_str())))
                }
            },
            Test::Every(list, name, test) => list.list(facts, items).is_some_and(|list| {
                list.iter().all(|value| test.holds_with(facts, Some(&Items { name, value, outer: items })))
            }),
            Test::Some(list, name, test) => list.list(facts, items).is_some_and(|list| {
                list.iter().any(|value| test.holds_with(facts, Some(&Items { name, value, outer: items })))
            }),
            Test::All(tests) => tests.iter().all(|test| test.holds_with(facts, items)),
            Test::Any(tests) => tests.iter().any(|test| test.holds_with(facts, items)),
            Test::Not(test) => !test.holds_with(facts, items),
        }
    }
}

/// See its twin in CEL.
fn of_repository(image: &str, repository: &str) -> bool {
    match image.strip_prefix(repository) {
        Some("") => true,
        Some(rest) => rest.starts_with([':', '@']) && !rest.contains('/'),
        None => false,
    }
}
