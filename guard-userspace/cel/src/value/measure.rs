//! Sizes, which cost is counted by, and a canonical text.

use std::fmt::Write as _;

use super::{List, Map, Text, Value};
use crate::error::EvaluationError;
use crate::limits::MAX_VALUE_DEPTH;
use crate::meter::Meter;

type Outcome<T> = Result<T, Box<EvaluationError>>;

impl Value<'_> {
    /// What `size` says, or the bytes of an address: characters, bytes, items, entries.
    pub(crate) fn size(&self, meter: &mut Meter) -> Outcome<Option<u64>> {
        let size = match self {
            Value::String(text) => text.characters(meter)?,
            Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            Value::Ip(address) => {
                if address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Value::Cidr(cidr) => usize::from(cidr.bits()).div_ceil(8),
            _ => return Ok(None),
        };
        Ok(Some(size as u64))
    }

    /// What Kubernetes counts for a function that goes through a whole value.
    pub(crate) fn traversal_cost(&self, meter: &mut Meter) -> Outcome<u64> {
        traversal_cost(self, meter, 0)
    }

    /// Whether `optional.ofNonZeroValue` takes it for nothing.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Int(value) => *value == 0,
            Value::Uint(value) => *value == 0,
            Value::Double(value) => *value == 0.0,
            Value::String(text) => text.is_empty(),
            Value::Bytes(bytes) => bytes.is_empty(),
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
            Value::Duration(nanoseconds) => *nanoseconds == 0,
            Value::Timestamp(timestamp) => timestamp.is_zero(),
            _ => false,
        }
    }

    /// A text that two values share if and only if they are the same: for tests and comparisons.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        write_canonical(self, &mut out, 0);
        out
    }
}

impl Text<'_> {
    /// How many characters it has.
    pub(crate) fn characters(&self, meter: &mut Meter) -> Outcome<usize> {
        meter.read(self.len())?;
        Ok(self.chars().count())
    }
}

fn traversal_cost(value: &Value<'_>, meter: &mut Meter, depth: usize) -> Outcome<u64> {
    if depth > MAX_VALUE_DEPTH {
        return Err(Box::new(EvaluationError::Depth { limit: MAX_VALUE_DEPTH }));
    }
    meter.step()?;
    let mut cost = 0;
    match value {
        // A tenth for each byte, rounded down.
        Value::String(text) => cost = text.len() as u64 / 10,
        Value::Bytes(bytes) => cost = bytes.len() as u64 / 10,
        Value::List(List::Owned(items)) => {
            for item in items.iter() {
                cost += traversal_cost(item, meter, depth + 1)?;
            }
        }
        Value::List(list) => {
            for item in list.iter() {
                cost += traversal_cost(&item, meter, depth + 1)?;
            }
        }
        Value::Map(map) => {
            for (key, value) in map.entries() {
                cost += traversal_cost(&key, meter, depth + 1)? + traversal_cost(&value, meter, depth + 1)?;
            }
        }
        _ => cost = 1,
    }
    Ok(cost)
}

/// Recursion ends at the depth to which values are looked at anywhere.
fn write_canonical(value: &Value<'_>, out: &mut String, depth: usize) {
    if depth > MAX_VALUE_DEPTH {
        out.push('…');
        return;
    }
    let written = match value {
        Value::Null => write!(out, "null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Uint(value) => write!(out, "{value}u"),
        Value::Double(value) if value.is_nan() => write!(out, "double(nan)"),
        Value::Double(value) => write!(out, "double({:016x})", value.to_bits()),
        Value::String(text) => {
            // JSON, with the two line ends escaped that Go's encoder escapes.
            let json = serde_json::Value::from(&**text).to_string();
            out.push_str(&json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"));
            Ok(())
        }
        Value::Bytes(bytes) => {
            out.push_str("bytes(");
            let written = bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"));
            out.push(')');
            written
        }
        Value::Timestamp(timestamp) => write!(out, "timestamp({})", timestamp.in_utc()),
        Value::Duration(nanoseconds) => write!(out, "duration({nanoseconds})"),
        Value::Type(name) => write!(out, "type({name})"),
        Value::Optional(None) => write!(out, "optional.none"),
        Value::Optional(Some(value)) => {
            out.push_str("optional(");
            write_canonical(value, out, depth + 1);
            out.push(')');
            Ok(())
        }
        Value::Ip(address) => write!(out, "ip({address})"),
        Value::Cidr(cidr) => write!(out, "cidr({cidr})"),
        Value::Url(url) => write!(out, "url({url})"),
        Value::Quantity(quantity) => write!(out, "quantity({quantity})"),
        Value::Semver(version) => write!(out, "semver({version})"),
        Value::Format(format) => write!(out, "format({})", format.title()),
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_canonical(&item, out, depth + 1);
            }
            out.push(']');
            Ok(())
        }
        Value::Map(map) => {
            write_entries(map, out, depth);
            Ok(())
        }
    };
    written.expect("a String takes everything that is written to it");
}

fn write_entries(map: &Map<'_>, out: &mut String, depth: usize) {
    let mut entries: Vec<String> = map
        .entries()
        .iter()
        .map(|(key, value)| {
            let mut entry = String::new();
            write_canonical(key, &mut entry, depth + 1);
            entry.push_str(": ");
            write_canonical(value, &mut entry, depth + 1);
            entry
        })
        .collect();
    entries.sort();
    out.push('{');
    out.push_str(&entries.join(", "));
    out.push('}');
}
