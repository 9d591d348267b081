//! Conversions between types.

use std::sync::Arc;

use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::meter::Meter;
use crate::value::Value;

/// 2⁶³ and 2⁶⁴, the first doubles beyond the integers.
const INT_BOUND: f64 = 9_223_372_036_854_775_808.0;
const UINT_BOUND: f64 = 18_446_744_073_709_551_616.0;

fn impossible(from: &Value<'_>, to: &str) -> Box<EvaluationError> {
    if from.type_name().contains('.') && !matches!(from, Value::Timestamp(_) | Value::Duration(_)) {
        return EvaluationError::no_such_overload();
    }
    EvaluationError::failed(format!("type conversion error from '{}' to '{to}'", from.type_name()))
}

pub(super) fn identity<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    arguments.first().cloned().ok_or_else(EvaluationError::no_such_overload)
}

pub(super) fn type_of<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [value] => Ok(Value::Type(Arc::from(value.type_name()))),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn to_bool<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [Value::Bool(value)] => Ok(Value::Bool(*value)),
        [text @ Value::String(value)] => match &**value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(impossible(text, "bool")),
        },
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn to_bytes<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [value @ Value::Bytes(_)] => Ok(value.clone()),
        [Value::String(text)] => {
            meter.allocate(text.len())?;
            Ok(Value::from(text.as_bytes().to_vec()))
        }
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn to_double<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    #[expect(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
    match arguments {
        [Value::Double(value)] => Ok(Value::Double(*value)),
        [Value::Int(value)] => Ok(Value::Double(*value as f64)),
        [Value::Uint(value)] => Ok(Value::Double(*value as f64)),
        [text @ Value::String(value)] => {
            meter.read(value.len())?;
            parse_double(value).map(Value::Double).ok_or_else(|| impossible(text, "double"))
        }
        _ => Err(EvaluationError::no_such_overload()),
    }
}

/// As Go reads doubles, but that hexadecimal ones are refused: `Infinity` and `NaN` in any case; too large is an error.
fn parse_double(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let names_infinity = text.bytes().any(|byte| matches!(byte, b'n' | b'N'));
    (value.is_finite() || names_infinity).then_some(value)
}

#[expect(clippy::cast_possible_truncation, reason = "the bounds are compared first")]
pub(super) fn to_int<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let overflow = || EvaluationError::failed("integer overflow");
    match arguments {
        [Value::Int(value)] => Ok(Value::Int(*value)),
        [Value::Uint(value)] => i64::try_from(*value).map(Value::Int).map_err(|_| overflow()),
        [Value::Double(value)] if *value > -INT_BOUND && *value < INT_BOUND => Ok(Value::Int(*value as i64)),
        [Value::Double(_)] => Err(overflow()),
        [Value::Duration(nanoseconds)] => Ok(Value::Int(*nanoseconds)),
        [Value::Timestamp(timestamp)] => Ok(Value::Int(timestamp.seconds())),
        [text @ Value::String(value)] => {
            meter.read(value.len())?;
            value.parse().map(Value::Int).map_err(|_| impossible(text, "int"))
        }
        _ => Err(EvaluationError::no_such_overload()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the bounds are compared first")]
pub(super) fn to_uint<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let overflow = || EvaluationError::failed("unsigned integer overflow");
    match arguments {
        [Value::Uint(value)] => Ok(Value::Uint(*value)),
        [Value::Int(value)] => u64::try_from(*value).map(Value::Uint).map_err(|_| overflow()),
        [Value::Double(value)] if *value >= 0.0 && *value < UINT_BOUND => Ok(Value::Uint(*value as u64)),
        [Value::Double(_)] => Err(overflow()),
        [text @ Value::String(value)] => {
            meter.read(value.len())?;
            // Unlike Go, Rust takes a plus.
            let digits = Some(&**value).filter(|digits| !digits.starts_with('+'));
            digits.and_then(|digits| digits.parse().ok()).map(Value::Uint).ok_or_else(|| impossible(text, "uint"))
        }
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn to_string<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let text = match arguments {
        [text @ Value::String(_)] => return Ok(text.clone()),
        [Value::Bool(value)] => value.to_string(),
        [Value::Int(value)] => value.to_string(),
        [Value::Uint(value)] => value.to_string(),
        [Value::Double(value)] => double_text(*value),
        [Value::Bytes(bytes)] => {
            meter.allocate(bytes.len())?;
            let text = std::str::from_utf8(bytes);
            text.map_err(|_| EvaluationError::failed("invalid UTF-8 in bytes, cannot convert to string"))?.to_owned()
        }
        [Value::Timestamp(timestamp)] => timestamp.to_string(),
        [Value::Duration(nanoseconds)] => duration_text(*nanoseconds),
        [Value::Ip(address)] => address.to_string(),
        [Value::Cidr(cidr)] => cidr.to_string(),
        _ => return Err(EvaluationError::no_such_overload()),
    };
    meter.allocate(text.len())?;
    Ok(Value::from(text))
}

/// Seconds, as few digits as it takes.
pub(super) fn duration_text(nanoseconds: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "Go adds the two parts as doubles")]
    let seconds = (nanoseconds / 1_000_000_000) as f64 + (nanoseconds % 1_000_000_000) as f64 / 1e9;
    format!("{seconds}s")
}

/// As Go's `%g`: the fewest digits, with an exponent below 10⁻⁴ and from 10⁶ on.
pub(crate) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
