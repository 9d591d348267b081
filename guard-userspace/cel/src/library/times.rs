//! Timestamps and durations.

use jiff::tz::{Offset, TimeZone};

use super::Implementation;
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::meter::Meter;
use crate::value::{Civil, Timestamp, Value};

pub(super) fn implementation(function: &str) -> Option<Implementation> {
    Some(match function {
        "getFullYear" => |_, arguments| part(arguments, |civil| civil.year),
        "getMonth" => |_, arguments| part(arguments, |civil| civil.month - 1),
        "getDayOfYear" => |_, arguments| part(arguments, |civil| civil.day_of_year),
        "getDayOfMonth" => |_, arguments| part(arguments, |civil| civil.day - 1),
        "getDate" => |_, arguments| part(arguments, |civil| civil.day),
        "getDayOfWeek" => |_, arguments| part(arguments, |civil| civil.day_of_week),
        "getHours" => |_, arguments| part_or_whole(arguments, 3_600_000_000_000, |civil| civil.hour),
        "getMinutes" => |_, arguments| part_or_whole(arguments, 60_000_000_000, |civil| civil.minute),
        "getSeconds" => |_, arguments| part_or_whole(arguments, 1_000_000_000, |civil| civil.second),
        "getMilliseconds" => |_, arguments| match arguments {
            [Value::Duration(nanoseconds)] => Ok(Value::Int(nanoseconds / 1_000_000)),
            [Value::Timestamp(timestamp), zone @ ..] => {
                offset(timestamp, zone)?;
                Ok(Value::Int(i64::from(timestamp.nanoseconds() / 1_000_000)))
            }
            _ => Err(EvaluationError::no_such_overload()),
        },
        _ => return None,
    })
}

/// A part of a timestamp's date or time of day, in UTC or a zone.
fn part<'a>(arguments: &[Value<'a>], read: impl Fn(&Civil) -> i64) -> Outcome<Value<'a>> {
    match arguments {
        [Value::Timestamp(timestamp), zone @ ..] => {
            let offset = offset(timestamp, zone)?;
            Ok(Value::Int(read(&timestamp.civil(offset))))
        }
        _ => Err(EvaluationError::no_such_overload()),
    }
}

/// The same; of a duration, all of it in the unit.
fn part_or_whole<'a>(arguments: &[Value<'a>], unit: i64, read: impl Fn(&Civil) -> i64) -> Outcome<Value<'a>> {
    match arguments {
        [Value::Duration(nanoseconds)] => Ok(Value::Int(nanoseconds / unit)),
        _ => part(arguments, read),
    }
}

/// Seconds east of UTC: of no zone, of `+hh:mm`, of a name in the time zone database.
fn offset(timestamp: &Timestamp, zone: &[Value<'_>]) -> Outcome<i64> {
    let name = match zone {
        [] => return Ok(0),
        [Value::String(name)] => name,
        _ => return Err(EvaluationError::no_such_overload()),
    };
    if let Some((hours, minutes)) = name.split_once(':') {
        let number = |digits: &str| -> Outcome<i64> {
            digits
                .parse::<i32>()
                .map(i64::from)
                .map_err(|_| EvaluationError::failed(format!("parsing time zone {:?}: invalid syntax", &**name)))
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let minutes = hours * 60 + if name.starts_with('-') { -minutes } else { minutes };
        return Ok(minutes * 60);
    }
    if matches!(&**name, "" | "UTC") {
        return Ok(0);
    }
    let unknown = || EvaluationError::failed(format!("unknown time zone {}", &**name));
    let zone = TimeZone::get(name).map_err(|_| unknown())?;
    let instant = jiff::Timestamp::from_second(timestamp.seconds()).map_err(|_| unknown())?;
    let offset: Offset = zone.to_offset(instant);
    Ok(i64::from(offset.seconds()))
}

pub(super) fn to_timestamp<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let overflow = || EvaluationError::failed("timestamp overflow");
    match arguments {
        [Value::Timestamp(timestamp)] => Ok(Value::Timestamp(*timestamp)),
        [Value::Int(seconds)] => Timestamp::new(*seconds, 0, 0).map(Value::Timestamp).ok_or_else(overflow),
        [Value::String(text)] => Timestamp::parse(text).map(Value::Timestamp).ok_or_else(|| {
            EvaluationError::failed("type conversion error from 'string' to 'google.protobuf.Timestamp'")
        }),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn to_duration<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [Value::Duration(nanoseconds)] => Ok(Value::Duration(*nanoseconds)),
        [Value::String(text)] => parse_duration(text).map(Value::Duration).ok_or_else(|| {
            EvaluationError::failed("type conversion error from 'string' to 'google.protobuf.Duration'")
        }),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

/// Nanoseconds of a duration as Go writes it: `1h15m30.918s`, `-1.5h`, `0`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(rest);
        let (integer, after) = rest.split_at(whole);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if integer.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_length = after.find(|character: char| character == '.' || character.is_ascii_digit());
        let (unit, after) = after.split_at(unit_length.unwrap_or(after.len()));
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let integer: u64 = if integer.is_empty() { 0 } else { integer.parse().ok()? };
        let mut nanoseconds = integer.checked_mul(unit)?;
        if !fraction.is_empty() {
            // More digits than an integer holds add nothing that a nanosecond would show.
            let kept = &fraction[..fraction.len().min(18)];
            let scale = 10_u64.pow(u32::try_from(kept.len()).ok()?);
            let part = u128::from(kept.parse::<u64>().ok()?) * u128::from(unit) / u128::from(scale);
            nanoseconds = nanoseconds.checked_add(u64::try_from(part).ok()?)?;
        }
        total = total.checked_add(nanoseconds).filter(|total| *total <= 1 << 63)?;
        rest = after;
    }
    let total = i128::from(total);
    i64::try_from(if negative { -total } else { total }).ok()
}
