//! Equality and order, across the types of numbers.

use std::cmp::Ordering;

use super::{List, Map, Value};
use crate::error::EvaluationError;
use crate::limits::MAX_VALUE_DEPTH;
use crate::meter::Meter;

type Outcome<T> = Result<T, Box<EvaluationError>>;

impl Value<'_> {
    /// Whether both are worth the same. Values of different types are not, but that numbers are compared by worth; what Kubernetes'
    /// libraries define can't be compared with anything else at all.
    pub(crate) fn equals(&self, other: &Value<'_>, meter: &mut Meter) -> Outcome<bool> {
        equals(self, other, meter, 0)
    }

    /// The order of two values that have one.
    pub(crate) fn compare(&self, other: &Value<'_>, meter: &mut Meter) -> Outcome<Ordering> {
        Ok(match (self, other) {
            (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
            (Value::String(one), Value::String(other)) => {
                meter.read(one.len().min(other.len()))?;
                (**one).cmp(&**other)
            }
            (Value::Bytes(one), Value::Bytes(other)) => {
                meter.read(one.len().min(other.len()))?;
                one.cmp(other)
            }
            (Value::Timestamp(one), Value::Timestamp(other)) => one.instant().cmp(&other.instant()),
            (Value::Duration(one), Value::Duration(other)) => one.cmp(other),
            (one, other) if one.is_number() && other.is_number() => {
                compare_numbers(one, other).ok_or_else(|| EvaluationError::failed("NaN values cannot be ordered"))?
            }
            _ => return Err(EvaluationError::no_such_overload()),
        })
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Value::Int(_) | Value::Uint(_) | Value::Double(_))
    }
}

fn equals(one: &Value<'_>, other: &Value<'_>, meter: &mut Meter, depth: usize) -> Outcome<bool> {
    if depth > MAX_VALUE_DEPTH {
        return Err(Box::new(EvaluationError::Depth { limit: MAX_VALUE_DEPTH }));
    }
    meter.step()?;
    Ok(match (one, other) {
        (Value::Null, other) => matches!(other, Value::Null),
        (_, Value::Null) => false,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::String(one), Value::String(other)) => {
            meter.read(one.len().min(other.len()))?;
            **one == **other
        }
        (Value::Bytes(one), Value::Bytes(other)) => {
            meter.read(one.len().min(other.len()))?;
            one == other
        }
        (Value::List(one), Value::List(other)) => lists_equal(one, other, meter, depth)?,
        (Value::Map(one), Value::Map(other)) => maps_equal(one, other, meter, depth)?,
        (Value::Timestamp(one), Value::Timestamp(other)) => one.instant() == other.instant(),
        (Value::Duration(one), Value::Duration(other)) => one == other,
        (Value::Type(one), Value::Type(other)) => one == other,
        (Value::Optional(Some(one)), Value::Optional(Some(other))) => equals(one, other, meter, depth + 1)?,
        (Value::Optional(one), Value::Optional(other)) => one.is_none() && other.is_none(),
        (Value::Ip(one), Value::Ip(other)) => one == other,
        (Value::Cidr(one), Value::Cidr(other)) => one == other,
        (Value::Url(one), Value::Url(other)) => one == other,
        (Value::Quantity(one), Value::Quantity(other)) => one.compare(other) == Ordering::Equal,
        (Value::Semver(one), Value::Semver(other)) => one.compare(other) == Ordering::Equal,
        (Value::Format(one), Value::Format(other)) => one == other,
        (one, other) if one.is_number() && other.is_number() => compare_numbers(one, other) == Some(Ordering::Equal),
        (
            Value::Ip(_) | Value::Cidr(_) | Value::Url(_) | Value::Quantity(_) | Value::Semver(_) | Value::Format(_),
            _,
        ) => return Err(EvaluationError::no_such_overload()),
        _ => false,
    })
}

fn lists_equal(one: &List<'_>, other: &List<'_>, meter: &mut Meter, depth: usize) -> Outcome<bool> {
    if one.len() != other.len() {
        return Ok(false);
    }
    for (one, other) in one.iter().zip(other.iter()) {
        if !equals(&one, &other, meter, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps_equal(one: &Map<'_>, other: &Map<'_>, meter: &mut Meter, depth: usize) -> Outcome<bool> {
    if one.len() != other.len() {
        return Ok(false);
    }
    for (key, value) in one.entries() {
        match other.get(&key) {
            Some(other) if equals(&value, &other, meter, depth + 1)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The order of two numbers by worth; none if one is not a number.
fn compare_numbers(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    match (one, other) {
        (Value::Double(one), Value::Double(other)) => one.partial_cmp(other),
        (Value::Double(one), other) => compare_with_double(other, *one).map(Ordering::reverse),
        (one, Value::Double(other)) => compare_with_double(one, *other),
        (one, other) => Some(whole(one).cmp(&whole(other))),
    }
}

/// An integer and a double, as cel-go: out of the integer's range by the bounds, within by converting the integer.
fn compare_with_double(integer: &Value<'_>, double: f64) -> Option<Ordering> {
    // 2⁶³ and 2⁶⁴: the first doubles beyond.
    let (least, beyond) = match integer {
        Value::Uint(_) => (0.0, 18_446_744_073_709_551_616.0),
        _ => (-9_223_372_036_854_775_808.0, 9_223_372_036_854_775_808.0),
    };
    if double < least {
        return Some(Ordering::Greater);
    }
    if double >= beyond {
        return Some(Ordering::Less);
    }
    #[expect(clippy::cast_precision_loss, reason = "cel-go compares so, and the same answer is what matters")]
    let integer = match integer {
        Value::Uint(value) => *value as f64,
        Value::Int(value) => *value as f64,
        _ => return None,
    };
    integer.partial_cmp(&double)
}

/// The worth of an integer of either type.
fn whole(value: &Value<'_>) -> i128 {
    match value {
        Value::Int(value) => i128::from(*value),
        Value::Uint(value) => i128::from(*value),
        _ => 0,
    }
}
