//! Folds over lists and maps.

use std::sync::Arc;

use super::{Evaluator, Local, Outcome, absorbed};
use crate::error::EvaluationError;
use crate::plan::{Fold, Node};
use crate::value::{Entries, Key, List, Map, Value};

impl<'p, 'a> Evaluator<'_, 'p, 'a> {
    pub(super) fn fold(&mut self, fold: &'p Fold) -> Outcome<Value<'a>> {
        let range = self.evaluate(&fold.range)?;
        let slot = self.locals.len();
        self.locals.push(Local::Known(Ok(fold.initial.clone())));
        let outcome = self.each(fold, range, slot);
        self.locals.truncate(slot + 1);
        let outcome = outcome.and_then(|()| self.evaluate(&fold.result));
        self.locals.truncate(slot);
        outcome
    }

    fn each(&mut self, fold: &'p Fold, range: Value<'a>, slot: usize) -> Outcome<()> {
        self.locals.push(Local::Known(Ok(Value::Null)));
        if fold.two_variables {
            self.locals.push(Local::Known(Ok(Value::Null)));
        }
        match range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let Some(item) = list.get(index) else { break };
                    let (first, second) = if fold.two_variables {
                        (Value::Int(i64::try_from(index).unwrap_or(i64::MAX)), Some(item))
                    } else {
                        (item, None)
                    };
                    if !self.iterate(fold, slot, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                self.meter.work(map.len() as u64)?;
                for key in map.keys() {
                    let value = if fold.two_variables { map.get(&key) } else { None };
                    if !self.iterate(fold, slot, key, value)? {
                        break;
                    }
                }
            }
            other => {
                let reason = format!("got '{}', expected iterable type", other.type_name());
                return Err(EvaluationError::failed(reason));
            }
        }
        Ok(())
    }

    /// One round. Whether there is another.
    fn iterate(&mut self, fold: &'p Fold, slot: usize, first: Value<'a>, second: Option<Value<'a>>) -> Outcome<bool> {
        self.locals[slot + 1] = Local::Known(Ok(first));
        if let Some(second) = second {
            self.locals[slot + 2] = Local::Known(Ok(second));
        }
        if !matches!(fold.condition, Node::Constant(Value::Bool(true)))
            && let Ok(Value::Bool(false)) = absorbed(self.evaluate(&fold.condition))?
        {
            return Ok(false);
        }
        let outcome = absorbed(self.evaluate(&fold.step))?;
        // Only `&&` and `||` can still come to something after an error.
        let goes_on = outcome.is_ok() || matches!(fold.step, Node::And(_) | Node::Or(_));
        self.locals[slot] = Local::Known(outcome);
        Ok(goes_on)
    }

    /// `@result + [item]`, with the costs of the name, of a list unless it is a constant, and of the sum.
    pub(super) fn append(&mut self, slot: usize, item: &'p Node) -> Outcome<Value<'a>> {
        self.meter.charge(1)?;
        let value = self.evaluate(item)?;
        self.meter.charge(if matches!(item, Node::Constant(_)) { 1 } else { 11 })?;
        self.meter.allocate_items(1)?;
        let Value::List(list) = self.take(slot)? else { return Err(EvaluationError::no_such_overload()) };
        let mut items = match list {
            List::Owned(items) => items,
            List::Json(items) => Arc::new(items.iter().map(Value::from).collect()),
        };
        Arc::make_mut(&mut items).push(value);
        Ok(Value::List(List::Owned(items)))
    }

    pub(super) fn insert(&mut self, slot: usize, key: Option<&'p Node>, value: &'p Node) -> Outcome<Value<'a>> {
        self.meter.charge(1)?;
        let key = key.map(|key| self.evaluate(key)).transpose()?;
        let value = self.evaluate(value)?;
        self.meter.charge(1)?;
        let added = match (key, value) {
            (Some(key), value) => vec![(key, value)],
            (None, Value::Map(entries)) => entries.entries(),
            (None, _) => return Err(EvaluationError::no_such_overload()),
        };
        self.meter.allocate_items(2 * added.len())?;
        let Value::Map(map) = self.take(slot)? else { return Err(EvaluationError::no_such_overload()) };
        let mut entries = match map {
            Map::Owned(entries) => entries,
            map @ Map::Json(_) => {
                let entries = map.entries().into_iter().filter_map(|(key, value)| Some((Key::of(&key)?, value)));
                Arc::new(Entries(entries.collect()))
            }
        };
        for (key, value) in added {
            let Some(new) = Key::of(&key) else {
                return Err(EvaluationError::failed(format!("unsupported key type: {}", key.type_name())));
            };
            if Arc::make_mut(&mut entries).0.insert(new, value).is_some() {
                let key = if let Value::String(text) = &key { text.to_string() } else { key.canonical() };
                return Err(EvaluationError::failed(format!("insert failed: key {key} already exists")));
            }
        }
        Ok(Value::Map(Map::Owned(entries)))
    }

    /// The accumulator itself, so that nobody else holds it; the step puts a new one in its place.
    fn take(&mut self, slot: usize) -> Outcome<Value<'a>> {
        match std::mem::replace(&mut self.locals[slot], Local::Known(Ok(Value::Null))) {
            Local::Known(outcome) => outcome,
            Local::Later(_) => Err(EvaluationError::no_such_overload()),
        }
    }
}
