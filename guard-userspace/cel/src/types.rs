//! Types that the checker knows, and their notation.

use std::fmt;
use std::sync::Arc;

/// A type of CEL. `Dyn` is anything, judged only when the expression runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are CEL's types, by their names")]
pub enum Type {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    Optional(Arc<Type>),
    /// The type of a type; of which, if that is known.
    Type(Option<Arc<Type>>),
    /// A type of Kubernetes' libraries, such as `kubernetes.Quantity` or `net.IP`.
    Named(Arc<str>),
    /// A parameter of a declaration, or what is not inferred yet.
    Parameter(usize),
    /// What an expression with an error has: goes with everything, so that one mistake is told once.
    Error,
}

impl Type {
    /// `list(item)`.
    pub fn list(item: Type) -> Self {
        Type::List(Arc::new(item))
    }

    /// `map(key, value)`.
    pub fn map(key: Type, value: Type) -> Self {
        Type::Map(Arc::new((key, value)))
    }

    /// `optional_type(value)`.
    pub fn optional(value: Type) -> Self {
        Type::Optional(Arc::new(value))
    }

    /// Reads the notation that `Display` writes, and `<A>` for a parameter.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let inner = |prefix: &str| text.strip_prefix(prefix)?.strip_suffix(')');
        if let Some(item) = inner("list(") {
            return Some(Type::list(Type::parse(item)?));
        }
        if let Some(pair) = inner("map(") {
            let (key, value) = pair.split_once(", ")?;
            return Some(Type::map(Type::parse(key)?, Type::parse(value)?));
        }
        if let Some(value) = inner("optional_type(") {
            return Some(Type::optional(Type::parse(value)?));
        }
        if let Some(of) = inner("type(") {
            return Some(Type::Type(Some(Arc::new(Type::parse(of)?))));
        }
        if let Some(name) = text.strip_prefix('<') {
            return Some(Type::Parameter(usize::from(name.bytes().next()?)));
        }
        Some(match text {
            "dyn" => Type::Dyn,
            "null_type" | "null" => Type::Null,
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "google.protobuf.Timestamp" | "timestamp" => Type::Timestamp,
            "google.protobuf.Duration" | "duration" => Type::Duration,
            "type" => Type::Type(None),
            name if name.contains('.') => Type::Named(name.into()),
            _ => return None,
        })
    }

    /// How many types it is put together from; counts no further than `most`.
    pub(crate) fn weight(&self, most: usize) -> usize {
        let rest = most.saturating_sub(1);
        if rest == 0 {
            return 1;
        }
        1 + match self {
            Type::List(of) | Type::Optional(of) | Type::Type(Some(of)) => of.weight(rest),
            Type::Map(pair) => {
                let key = pair.0.weight(rest);
                key + if key < rest { pair.1.weight(rest - key) } else { 0 }
            }
            _ => 0,
        }
    }
}

/// As cel-go's messages write types.
impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => write!(out, "dyn"),
            Type::Null => write!(out, "null"),
            Type::Bool => write!(out, "bool"),
            Type::Int => write!(out, "int"),
            Type::Uint => write!(out, "uint"),
            Type::Double => write!(out, "double"),
            Type::String => write!(out, "string"),
            Type::Bytes => write!(out, "bytes"),
            Type::Timestamp => write!(out, "timestamp"),
            Type::Duration => write!(out, "duration"),
            Type::List(item) => write!(out, "list({item})"),
            Type::Map(pair) => write!(out, "map({}, {})", pair.0, pair.1),
            Type::Optional(value) => write!(out, "optional_type({value})"),
            Type::Type(Some(of)) => write!(out, "type({of})"),
            Type::Type(None) => write!(out, "type"),
            Type::Named(name) => write!(out, "{name}"),
            Type::Parameter(number) => write!(out, "_var{number}"),
            Type::Error => write!(out, "!error!"),
        }
    }
}
