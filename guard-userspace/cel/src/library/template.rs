//! `template.format([…])`.

use std::fmt::Write as _;

use super::convert::{double_text, duration_text};
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::limits::MAX_VALUE_DEPTH;
use crate::meter::Meter;
use crate::types::Type;
use crate::value::Value;

/// Digits after the point, unless the clause says how many.
const PRECISION: usize = 6;
/// Digits that a clause may ask for.
const MAX_PRECISION: usize = 1000;

/// A clause of a template.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Clause {
    String,
    Decimal,
    Fixed(usize),
    Scientific(usize),
    Binary,
    Hex { upper: bool },
    Octal,
}

impl Clause {
    /// Whether a value of a type can stand there, as far as the type is known.
    pub(crate) fn check_type(self, of: &Type) -> Result<(), String> {
        let fits = match self {
            _ if *of == Type::Dyn => true,
            Clause::String => !matches!(of, Type::Named(_) | Type::Optional(_)),
            Clause::Decimal | Clause::Octal => matches!(of, Type::Int | Type::Uint),
            Clause::Fixed(_) | Clause::Scientific(_) => matches!(of, Type::Double | Type::String),
            Clause::Binary => matches!(of, Type::Int | Type::Uint | Type::Bool),
            Clause::Hex { .. } => matches!(of, Type::Int | Type::Uint | Type::String | Type::Bytes),
        };
        let name = match of {
            Type::List(_) => "list".to_owned(),
            Type::Map(_) => "map".to_owned(),
            Type::Optional(_) => "optional_type".to_owned(),
            Type::Type(_) => "type".to_owned(),
            Type::Null => "null_type".to_owned(),
            Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
            Type::Duration => "google.protobuf.Duration".to_owned(),
            other => other.to_string(),
        };
        if fits { Ok(()) } else { Err(format!("error during formatting: {}", self.refusal(&name))) }
    }

    fn refusal(self, found: &str) -> String {
        let takes = match self {
            Clause::String => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
            }
            Clause::Decimal => "decimal clause can only be used on integers",
            Clause::Fixed(_) => "fixed-point clause can only be used on doubles",
            Clause::Scientific(_) => "scientific clause can only be used on doubles",
            Clause::Binary => "only integers and bools can be formatted as binary",
            Clause::Hex { .. } => "only integers, byte buffers, and strings can be formatted as hex",
            Clause::Octal => "octal clause can only be used on integers",
        };
        format!("{takes}, was given {found}")
    }
}

/// A piece of a template.
enum Piece<'t> {
    Text(&'t str),
    Clause(Clause),
}

/// Goes through the clauses of a template.
pub(crate) fn visit(template: &str, mut clause: impl FnMut(Clause) -> Result<(), String>) -> Result<(), String> {
    pieces(template).try_for_each(|piece| match piece? {
        Piece::Text(_) => Ok(()),
        Piece::Clause(found) => clause(found),
    })
}

fn pieces(template: &str) -> impl Iterator<Item = Result<Piece<'_>, String>> {
    let mut rest = template;
    let mut failed = false;
    std::iter::from_fn(move || {
        if rest.is_empty() || failed {
            return None;
        }
        let Some(after) = rest.strip_prefix('%') else {
            let end = rest.find('%').unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            rest = after;
            return Some(Ok(Piece::Text(text)));
        };
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            return Some(Ok(Piece::Text("%")));
        }
        Some(match read_clause(after) {
            Ok((found, after)) => {
                rest = after;
                Ok(Piece::Clause(found))
            }
            Err(reason) => {
                failed = true;
                Err(reason)
            }
        })
    })
}

fn read_clause(text: &str) -> Result<(Clause, &str), String> {
    let unreadable = |reason: String| format!("could not parse formatting clause: {reason}");
    if text.is_empty() {
        return Err("unexpected end of string".to_owned());
    }
    let (precision, text) = match text.strip_prefix('.') {
        None => (PRECISION, text),
        Some(after) => {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            if digits == after.len() {
                let reason = "error while parsing precision: could not find end of precision specifier";
                return Err(unreadable(reason.to_owned()));
            }
            let precision = after[..digits].parse().ok().filter(|precision| *precision <= MAX_PRECISION);
            let wrong =
                || unreadable("error while parsing precision: error while converting precision to integer".into());
            (precision.ok_or_else(wrong)?, &after[digits..])
        }
    };
    let mark = text.chars().next().unwrap_or_default();
    let clause = match mark {
        's' => Clause::String,
        'd' => Clause::Decimal,
        'f' => Clause::Fixed(precision),
        'e' => Clause::Scientific(precision),
        'b' => Clause::Binary,
        'x' | 'X' => Clause::Hex { upper: mark == 'X' },
        'o' => Clause::Octal,
        other => return Err(unreadable(format!("unrecognized formatting clause \"{other}\""))),
    };
    Ok((clause, &text[mark.len_utf8()..]))
}

pub(super) fn format<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(template), Value::List(list)] = arguments else {
        return Err(EvaluationError::no_such_overload());
    };
    meter.allocate(template.len())?;
    let mut out = String::new();
    let mut used = 0;
    for piece in pieces(template) {
        match piece.map_err(EvaluationError::failed)? {
            Piece::Text(text) => out.push_str(text),
            Piece::Clause(clause) => {
                let value =
                    list.get(used).ok_or_else(|| EvaluationError::failed(format!("index {used} out of range")))?;
                used += 1;
                let before = out.len();
                write_clause(clause, &value, &mut out, meter)?;
                meter.allocate(out.len() - before)?;
            }
        }
    }
    Ok(Value::from(out))
}

fn write_clause(clause: Clause, value: &Value<'_>, out: &mut String, meter: &mut Meter) -> Outcome<()> {
    let written = match (clause, value) {
        (Clause::String, value) => return write_string(value, out, meter, 0),
        (Clause::Decimal, Value::Int(value)) => write!(out, "{value}"),
        (Clause::Decimal, Value::Uint(value)) => write!(out, "{value}"),
        (Clause::Fixed(precision), value) if double_of(value).is_some() => {
            out.push_str(&fixed(double_of(value).unwrap_or_default(), precision));
            Ok(())
        }
        (Clause::Scientific(precision), value) if double_of(value).is_some() => {
            out.push_str(&scientific(double_of(value).unwrap_or_default(), precision));
            Ok(())
        }
        (Clause::Binary, Value::Bool(value)) => write!(out, "{}", u8::from(*value)),
        (Clause::Binary, Value::Int(value)) => write!(out, "{}{:b}", minus(*value), value.unsigned_abs()),
        (Clause::Binary, Value::Uint(value)) => write!(out, "{value:b}"),
        (Clause::Octal, Value::Int(value)) => write!(out, "{}{:o}", minus(*value), value.unsigned_abs()),
        (Clause::Octal, Value::Uint(value)) => write!(out, "{value:o}"),
        (Clause::Hex { upper }, value) => {
            let hex = match value {
                Value::Int(value) => format!("{}{:x}", minus(*value), value.unsigned_abs()),
                Value::Uint(value) => format!("{value:x}"),
                Value::String(text) => hex_of(text.as_bytes(), meter)?,
                Value::Bytes(bytes) => hex_of(bytes, meter)?,
                other => return Err(refused(clause, other)),
            };
            out.push_str(&if upper { hex.to_ascii_uppercase() } else { hex });
            Ok(())
        }
        (clause, value) => return Err(refused(clause, value)),
    };
    written.expect("a String takes everything that is written to it");
    Ok(())
}

fn refused(clause: Clause, value: &Value<'_>) -> Box<EvaluationError> {
    EvaluationError::failed(format!("error during formatting: {}", clause.refusal(value.type_name())))
}

fn minus(value: i64) -> &'static str {
    if value < 0 { "-" } else { "" }
}

fn hex_of(bytes: &[u8], meter: &mut Meter) -> Outcome<String> {
    meter.allocate(2 * bytes.len())?;
    let mut hex = String::new();
    for byte in bytes {
        write!(hex, "{byte:02x}").expect("a String takes everything that is written to it");
    }
    Ok(hex)
}

/// A double, or the name of one that is no number.
fn double_of(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        Value::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        value if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("∞"),
        f64::NEG_INFINITY => Some("-∞"),
        _ => None,
    }
}

/// In American English: a comma for each thousand.
fn fixed(value: f64, precision: usize) -> String {
    if let Some(name) = special(value) {
        return name.to_owned();
    }
    let digits = format!("{value:.precision$}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, ""), |(whole, fraction)| (whole, fraction));
    let mut out = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// As American English has it: `1.500000×10⁰³`. What a clause calls the precision is the least width here: so cel-go does.
fn scientific(value: f64, width: usize) -> String {
    const SUPERSCRIPTS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    if let Some(name) = special(value) {
        return name.to_owned();
    }
    let text = format!("{value:.PRECISION$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(("", exponent), |digits| ("⁻", digits));
    let digits: String = format!("{digits:0>2}").bytes().map(|digit| SUPERSCRIPTS[usize::from(digit - b'0')]).collect();
    format!("{:>width$}", format!("{mantissa}×10{sign}{digits}"))
}

fn write_string(value: &Value<'_>, out: &mut String, meter: &mut Meter, depth: usize) -> Outcome<()> {
    if depth > MAX_VALUE_DEPTH {
        return Err(Box::new(EvaluationError::Depth { limit: MAX_VALUE_DEPTH }));
    }
    meter.step()?;
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Uint(value) => out.push_str(&value.to_string()),
        Value::Double(value) => out.push_str(&double_text(*value)),
        Value::String(text) => {
            meter.allocate(text.len())?;
            out.push_str(text);
        }
        Value::Bytes(bytes) => {
            meter.allocate(bytes.len())?;
            let text = std::str::from_utf8(bytes);
            out.push_str(
                text.map_err(|_| EvaluationError::failed("error during formatting: could not convert argument"))?,
            );
        }
        Value::Timestamp(timestamp) => out.push_str(&timestamp.to_string()),
        Value::Duration(nanoseconds) => out.push_str(&duration_text(*nanoseconds)),
        Value::Type(name) => out.push_str(name),
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_member(&item, out, meter, depth + 1)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            let mut entries = Vec::new();
            for (key, value) in map.entries() {
                let mut entry = String::new();
                write_member(&key, &mut entry, meter, depth + 1)?;
                entry.push(':');
                write_member(&value, &mut entry, meter, depth + 1)?;
                entries.push(entry);
            }
            entries.sort();
            out.push('{');
            out.push_str(&entries.join(", "));
            out.push('}');
        }
        other => return Err(refused(Clause::String, other)),
    }
    Ok(())
}

/// A value within a list or map, as a literal of CEL.
fn write_member(value: &Value<'_>, out: &mut String, meter: &mut Meter, depth: usize) -> Outcome<()> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let literal = match value {
        Value::String(text) => {
            meter.allocate(text.len())?;
            quoted(text)
        }
        Value::Bytes(_) => {
            let mut text = String::new();
            write_string(value, &mut text, meter, depth)?;
            format!("b{}", quoted(&text))
        }
        Value::Double(value) if value.is_finite() => format!("{value:.PRECISION$}"),
        Value::Double(value) => quoted(&double_text(*value)),
        Value::Type(name) => format!("type({name})"),
        Value::Timestamp(timestamp) => format!("timestamp({})", quoted(&timestamp.to_string())),
        Value::Duration(nanoseconds) => format!("duration({})", quoted(&duration_text(*nanoseconds))),
        other => return write_string(other, out, meter, depth),
    };
    out.push_str(&literal);
    Ok(())
}
