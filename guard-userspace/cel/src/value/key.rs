//! Keys of maps.

use std::cmp::Ordering;

use super::{Text, Value};

/// A key, ordered by type and then by worth.
#[derive(Clone, Debug)]
pub(crate) enum Key<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// Signed.
    Int(i64),
    /// Unsigned.
    Uint(u64),
    /// Allowed by CEL as well.
    Double(f64),
    /// The usual one.
    String(Text<'a>),
}

impl<'a> Key<'a> {
    /// The key that a value can be; none if values of its type can't.
    pub(crate) fn of(value: &Value<'a>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => Key::Uint(*value),
            Value::Double(value) => Key::Double(*value),
            Value::String(text) => Key::String(text.clone()),
            _ => return None,
        })
    }

    pub(crate) fn value(&self) -> Value<'a> {
        match self {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => Value::Int(*value),
            Key::Uint(value) => Value::Uint(*value),
            Key::Double(value) => Value::Double(*value),
            Key::String(text) => Value::String(text.clone()),
        }
    }

    /// The keys that a value finds: its own, and those of numbers of equal worth.
    pub(super) fn alike(value: &Value<'a>) -> [Option<Self>; 3] {
        let whole = |value: f64| -> [Option<Self>; 2] {
            // The casts saturate; what doesn't come back the same was no integer of that type.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared with the original")]
            let (int, uint) = (value as i64, value as u64);
            #[expect(clippy::cast_precision_loss, clippy::float_cmp, reason = "exact worth is what is asked")]
            [(int as f64 == value).then_some(Key::Int(int)), (uint as f64 == value).then_some(Key::Uint(uint))]
        };
        match value {
            Value::Double(double) => {
                let [int, uint] = whole(*double);
                [Key::of(value), int, uint]
            }
            Value::Int(int) => [Key::of(value), u64::try_from(*int).ok().map(Key::Uint), None],
            Value::Uint(uint) => [Key::of(value), i64::try_from(*uint).ok().map(Key::Int), None],
            other => [Key::of(other), None, None],
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Key::Bool(_) => 0,
            Key::Int(_) => 1,
            Key::Uint(_) => 2,
            Key::Double(_) => 3,
            Key::String(_) => 4,
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::Bool(one), Key::Bool(other)) => one.cmp(other),
            (Key::Int(one), Key::Int(other)) => one.cmp(other),
            (Key::Uint(one), Key::Uint(other)) => one.cmp(other),
            (Key::Double(one), Key::Double(other)) => one.total_cmp(other),
            (Key::String(one), Key::String(other)) => (**one).cmp(&**other),
            (one, other) => one.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}
