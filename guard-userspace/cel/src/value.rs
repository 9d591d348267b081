//! Values: borrowed from the input where they come from there, else shared.

mod compare;
mod key;
mod measure;
mod time;

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

pub(crate) use key::Key;
pub(crate) use time::Civil;
pub use time::Timestamp;

use crate::library::{Cidr, Format, Quantity, Semver, Url};

/// A value of CEL, which may borrow from the JSON it was read from.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the variants are CEL's types, by their names")]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    List(List<'a>),
    Map(Map<'a>),
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    /// A type, by its name.
    Type(Arc<str>),
    Optional(Option<Arc<Value<'a>>>),
    Ip(IpAddr),
    Cidr(Cidr),
    Url(Arc<Url>),
    Quantity(Arc<Quantity>),
    Semver(Arc<Semver>),
    Format(Format),
}

/// A string.
#[derive(Clone)]
pub enum Text<'a> {
    /// From the input.
    Borrowed(&'a str),
    /// Made by the expression.
    Owned(Arc<str>),
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// From the input.
    Json(&'a [serde_json::Value]),
    /// Made by the expression.
    Owned(Arc<Vec<Value<'a>>>),
}

/// A map. Keys are bools, integers or strings.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// From the input.
    Json(&'a serde_json::Map<String, serde_json::Value>),
    /// Made by the expression.
    Owned(Arc<Entries<'a>>),
}

/// The entries of a map that an expression made.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a>(pub(crate) std::collections::BTreeMap<Key<'a>, Value<'a>>);

impl Value<'_> {
    /// The name of its type, as `type(x)` has it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Ip(_) => "net.IP",
            Value::Cidr(_) => "net.CIDR",
            Value::Url(_) => "kubernetes.URL",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
        }
    }

    /// `Some` in CEL's sense, without a value inside.
    pub(crate) const NONE: Value<'static> = Value::Optional(None);

    pub(crate) fn some(self) -> Self {
        Value::Optional(Some(Arc::new(self)))
    }
}

/// As Kubernetes reads JSON: an integer that fits is an `int`, never a `uint`; any other number is a `double`.
impl<'a> From<&'a serde_json::Value> for Value<'a> {
    fn from(json: &'a serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => {
                number.as_i64().map_or_else(|| Value::Double(number.as_f64().unwrap_or(f64::NAN)), Value::Int)
            }
            serde_json::Value::String(text) => Value::String(Text::Borrowed(text)),
            serde_json::Value::Array(items) => Value::List(List::Json(items)),
            serde_json::Value::Object(entries) => Value::Map(Map::Json(entries)),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::String(Text::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::String(Text::Owned(text.into()))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bytes(bytes.into())
    }
}

impl<'a> From<Vec<Value<'a>>> for Value<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        Value::List(List::Owned(Arc::new(items)))
    }
}

impl<'a> FromIterator<(Key<'a>, Value<'a>)> for Value<'a> {
    fn from_iter<I: IntoIterator<Item = (Key<'a>, Value<'a>)>>(entries: I) -> Self {
        Value::Map(Map::Owned(Arc::new(Entries(entries.into_iter().collect()))))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Owned(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, out)
    }
}

impl<'a> List<'a> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        match self {
            List::Json(items) => items.len(),
            List::Owned(items) => items.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at `index`.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            List::Json(items) => items.get(index).map(Value::from),
            List::Owned(items) => items.get(index).cloned(),
        }
    }

    /// All items, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> Map<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Map::Json(entries) => entries.len(),
            Map::Owned(entries) => entries.0.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a key stands for. Numbers find the key of equal worth, whatever its type.
    pub fn get(&self, key: &Value<'_>) -> Option<Value<'a>> {
        match (self, key) {
            (Map::Json(entries), Value::String(key)) => entries.get(&**key).map(Value::from),
            (Map::Json(_), _) => None,
            (Map::Owned(entries), key) => {
                Key::alike(key).into_iter().flatten().find_map(|key| entries.0.get(&key)).cloned()
            }
        }
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Json(entries) => entries.keys().map(|key| Value::from(key.as_str())).collect(),
            Map::Owned(entries) => entries.0.keys().map(Key::value).collect(),
        }
    }

    /// All entries, in the order of their keys.
    pub fn entries(&self) -> Vec<(Value<'a>, Value<'a>)> {
        match self {
            Map::Json(entries) => {
                entries.iter().map(|(key, value)| (Value::from(key.as_str()), Value::from(value))).collect()
            }
            Map::Owned(entries) => entries.0.iter().map(|(key, value)| (key.value(), value.clone())).collect(),
        }
    }
}
