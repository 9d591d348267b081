//! Operators on numbers, strings, bytes, lists, times.

use std::cmp::Ordering;

use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::meter::Meter;
use crate::value::Value;

fn overflow() -> Box<EvaluationError> {
    EvaluationError::failed("integer overflow")
}

fn unsigned_overflow() -> Box<EvaluationError> {
    EvaluationError::failed("unsigned integer overflow")
}

fn duration(nanoseconds: Option<i64>) -> Outcome<Value<'static>> {
    nanoseconds.map(Value::Duration).ok_or_else(|| EvaluationError::failed("duration overflow"))
}

fn timestamp(timestamp: Option<crate::Timestamp>) -> Outcome<Value<'static>> {
    timestamp.map(Value::Timestamp).ok_or_else(|| EvaluationError::failed("timestamp overflow"))
}

pub(super) fn not<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn negate<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [Value::Int(value)] => value.checked_neg().map(Value::Int).ok_or_else(overflow),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        [Value::Duration(value)] => duration(value.checked_neg()),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn add<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(match arguments {
        [Value::Int(one), Value::Int(other)] => Value::Int(one.checked_add(*other).ok_or_else(overflow)?),
        [Value::Uint(one), Value::Uint(other)] => Value::Uint(one.checked_add(*other).ok_or_else(unsigned_overflow)?),
        [Value::Double(one), Value::Double(other)] => Value::Double(one + other),
        [Value::String(one), Value::String(other)] => {
            meter.allocate(one.len() + other.len())?;
            Value::from(format!("{}{}", &**one, &**other))
        }
        [Value::Bytes(one), Value::Bytes(other)] => {
            meter.allocate(one.len() + other.len())?;
            Value::from([&**one, &**other].concat())
        }
        [Value::List(one), Value::List(other)] => {
            if one.is_empty() {
                return Ok(Value::List(other.clone()));
            }
            if other.is_empty() {
                return Ok(Value::List(one.clone()));
            }
            meter.allocate_items(one.len() + other.len())?;
            Value::from(one.iter().chain(other.iter()).collect::<Vec<_>>())
        }
        [Value::Duration(one), Value::Duration(other)] => duration(one.checked_add(*other))?,
        [Value::Timestamp(time), Value::Duration(nanoseconds)]
        | [Value::Duration(nanoseconds), Value::Timestamp(time)] => timestamp(time.plus(i128::from(*nanoseconds)))?,
        _ => return Err(EvaluationError::no_such_overload()),
    })
}

pub(super) fn subtract<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(match arguments {
        [Value::Int(one), Value::Int(other)] => Value::Int(one.checked_sub(*other).ok_or_else(overflow)?),
        [Value::Uint(one), Value::Uint(other)] => Value::Uint(one.checked_sub(*other).ok_or_else(unsigned_overflow)?),
        [Value::Double(one), Value::Double(other)] => Value::Double(one - other),
        [Value::Duration(one), Value::Duration(other)] => duration(one.checked_sub(*other))?,
        [Value::Timestamp(time), Value::Duration(nanoseconds)] => timestamp(time.plus(-i128::from(*nanoseconds)))?,
        [Value::Timestamp(one), Value::Timestamp(other)] => duration(one.since(other))?,
        _ => return Err(EvaluationError::no_such_overload()),
    })
}

pub(super) fn multiply<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(match arguments {
        [Value::Int(one), Value::Int(other)] => Value::Int(one.checked_mul(*other).ok_or_else(overflow)?),
        [Value::Uint(one), Value::Uint(other)] => Value::Uint(one.checked_mul(*other).ok_or_else(unsigned_overflow)?),
        [Value::Double(one), Value::Double(other)] => Value::Double(one * other),
        _ => return Err(EvaluationError::no_such_overload()),
    })
}

pub(super) fn divide<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            return Err(EvaluationError::failed("division by zero"));
        }
        [Value::Int(one), Value::Int(other)] => Value::Int(one.checked_div(*other).ok_or_else(overflow)?),
        [Value::Uint(one), Value::Uint(other)] => Value::Uint(one / other),
        [Value::Double(one), Value::Double(other)] => Value::Double(one / other),
        _ => return Err(EvaluationError::no_such_overload()),
    })
}

pub(super) fn modulo<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            return Err(EvaluationError::failed("modulus by zero"));
        }
        [Value::Int(one), Value::Int(other)] => Value::Int(one.checked_rem(*other).ok_or_else(overflow)?),
        [Value::Uint(one), Value::Uint(other)] => Value::Uint(one % other),
        _ => return Err(EvaluationError::no_such_overload()),
    })
}

fn ordered<'a>(meter: &mut Meter, arguments: &[Value<'a>], holds: impl Fn(Ordering) -> bool) -> Outcome<Value<'a>> {
    match arguments {
        [one, other] => Ok(Value::Bool(holds(one.compare(other, meter)?))),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn less<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    ordered(meter, arguments, Ordering::is_lt)
}

pub(super) fn less_or_equal<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    ordered(meter, arguments, Ordering::is_le)
}

pub(super) fn greater<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    ordered(meter, arguments, Ordering::is_gt)
}

pub(super) fn greater_or_equal<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    ordered(meter, arguments, Ordering::is_ge)
}
