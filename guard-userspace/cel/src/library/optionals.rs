//! Optional values.

use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::meter::Meter;
use crate::value::Value;

pub(super) fn of<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    meter.allocate_items(1)?;
    arguments.first().map(|value| value.clone().some()).ok_or_else(EvaluationError::no_such_overload)
}

pub(super) fn of_non_zero<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    if arguments.first().is_some_and(Value::is_zero) { Ok(Value::NONE) } else { of(meter, arguments) }
}

pub(super) fn has_value<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn value<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [Value::Optional(Some(inner))] => Ok((**inner).clone()),
        [Value::Optional(None)] => Err(EvaluationError::failed("optional.none() dereference")),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn unwrap<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::List(list)] = arguments else { return Err(EvaluationError::no_such_overload()) };
    meter.allocate_items(list.len())?;
    let mut values = Vec::new();
    for item in list.iter() {
        match item {
            Value::Optional(inner) => values.extend(inner.map(|inner| (*inner).clone())),
            other => return Err(EvaluationError::failed(format!("value {} is not optional", other.canonical()))),
        }
    }
    Ok(Value::from(values))
}
