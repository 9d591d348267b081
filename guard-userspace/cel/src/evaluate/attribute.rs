//! Variables, what is selected of values, and conditionals.

use super::{Evaluator, Local, Outcome};
use crate::error::EvaluationError;
use crate::plan::{Attribute, Base, Branch, Qualifier, QualifierKey};
use crate::value::{Map, Value};

impl<'p, 'a> Evaluator<'_, 'p, 'a> {
    /// Resolves an attribute, and counts it.
    pub(super) fn attribute(&mut self, attribute: &'p Attribute) -> Outcome<Value<'a>> {
        let outcome = super::absorbed(self.resolve(attribute))?;
        self.meter.charge(attribute.cost())?;
        if attribute.is_test() {
            self.meter.refund(1);
        }
        outcome
    }

    /// Resolves an attribute; only its qualifiers and what it is of are counted.
    fn resolve(&mut self, attribute: &'p Attribute) -> Outcome<Value<'a>> {
        let mut value = match &attribute.base {
            Base::Variable(index) => self.activation.get(*index, self.meter, self.level)?,
            Base::Local(slot) => self.local(*slot)?,
            Base::Node(node) => self.evaluate(node)?,
            Base::Conditional { condition, branches } => {
                let branch = match self.evaluate(condition)? {
                    Value::Bool(true) => &branches[0],
                    Value::Bool(false) => &branches[1],
                    _ => return Err(EvaluationError::no_such_overload()),
                };
                match branch {
                    Branch::Attribute(attribute) => self.nested(attribute)?,
                    Branch::Node(node) => self.evaluate(node)?,
                }
            }
        };
        if attribute.qualifiers.is_empty() {
            return Ok(value);
        }
        let mut optional = false;
        if let Value::Optional(inner) = &value {
            let Some(inner) = inner else {
                // A test for presence of what is in nothing.
                return Ok(if attribute.is_test() { Value::Bool(false) } else { Value::NONE });
            };
            optional = true;
            value = (**inner).clone();
        }
        for qualifier in &attribute.qualifiers {
            self.meter.step()?;
            optional |= qualifier.optional;
            let found = super::absorbed(self.qualify(&value, qualifier, optional || qualifier.test))?;
            if !(optional && matches!(found, Ok(None))) {
                self.meter.charge(1)?;
            }
            match found? {
                found if qualifier.test => return Ok(Value::Bool(found.is_some())),
                Some(found) => value = found,
                // Without a test for presence it would have been an error.
                None => return Ok(if attribute.is_test() { Value::Bool(false) } else { Value::NONE }),
            }
        }
        Ok(if optional { value.some() } else { value })
    }

    /// One level deeper, which `evaluate` does not see.
    fn nested(&mut self, attribute: &'p Attribute) -> Outcome<Value<'a>> {
        self.meter.step()?;
        self.resolve(attribute)
    }

    /// The value of a variable of a fold, or of a name.
    fn local(&mut self, slot: usize) -> Outcome<Value<'a>> {
        let node = match &self.locals[slot] {
            Local::Known(outcome) => return outcome.clone(),
            Local::Later(node) => *node,
        };
        // It sees what was there when it was named.
        let hidden = self.locals.split_off(slot);
        let outcome = self.evaluate(node);
        self.locals.extend(hidden);
        self.locals[slot] = Local::Known(outcome.clone());
        outcome
    }

    /// What a qualifier selects. If it may be absent, nothing is no error.
    fn qualify(&mut self, of: &Value<'a>, qualifier: &'p Qualifier, may_be_absent: bool) -> Outcome<Option<Value<'a>>> {
        let found = match &qualifier.key {
            QualifierKey::Constant(key) => select(of, key)?,
            QualifierKey::Attribute(attribute) => {
                let key = self.nested(attribute)?;
                if crate::value::Key::of(&key).is_none() {
                    return Err(EvaluationError::failed(format!("invalid qualifier type: {}", key.type_name())));
                }
                let found = select(of, &key)?;
                if found.is_none() && !may_be_absent {
                    return Err(absent(of, &key));
                }
                return Ok(found);
            }
        };
        match (&qualifier.key, found) {
            (QualifierKey::Constant(key), None) if !may_be_absent => Err(absent(of, key)),
            (_, found) => Ok(found),
        }
    }
}

fn select<'a>(of: &Value<'a>, key: &Value<'_>) -> Outcome<Option<Value<'a>>> {
    match of {
        Value::Map(Map::Json(_)) if !matches!(key, Value::String(_)) => Err(EvaluationError::no_such_overload()),
        Value::Map(map) => Ok(map.get(key)),
        Value::List(list) => Ok(usize::try_from(list_index(key)?).ok().and_then(|index| list.get(index))),
        _ => Ok(None),
    }
}

fn absent(of: &Value<'_>, key: &Value<'_>) -> Box<EvaluationError> {
    let what = if matches!(of, Value::List(_)) { "index out of bounds" } else { "no such key" };
    let key = match key {
        Value::String(text) => text.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => crate::library::double_text(*value),
        other => other.canonical(),
    };
    EvaluationError::failed(format!("{what}: {key}"))
}

/// An index: an integer of either type, or a double that is one.
pub(crate) fn list_index(key: &Value<'_>) -> Outcome<i64> {
    match key {
        Value::Int(index) => Ok(*index),
        Value::Uint(index) => i64::try_from(*index)
            .map_err(|_| EvaluationError::failed(format!("unsupported index value {index} in list"))),
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::float_cmp, reason = "compared")]
        Value::Double(index) if (*index as i64) as f64 == *index => Ok(*index as i64),
        Value::Double(index) => Err(EvaluationError::failed(format!(
            "unsupported index value {} in list",
            crate::library::double_text(*index)
        ))),
        other => Err(EvaluationError::failed(format!("unsupported index type '{}' in list", other.type_name()))),
    }
}
