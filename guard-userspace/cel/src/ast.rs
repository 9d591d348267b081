//! The syntax tree, macros already expanded. Its depth is bounded by the parser, so recursion over it is, `Drop` included.

use crate::value::Value;

/// Index of a node in tables that the checker fills.
pub(crate) type NodeId = usize;

/// Where a node begins: a byte offset into the source.
pub(crate) type Offset = usize;

/// A node of the syntax tree.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) id: NodeId,
    pub(crate) at: Offset,
    /// One more than that of the deepest child.
    pub(crate) depth: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Literal(Value<'static>),
    Ident(String),
    Select {
        operand: Box<Expr>,
        field: String,
        /// `has(operand.field)`.
        test: bool,
    },
    Call {
        target: Option<Box<Expr>>,
        /// An operator has a name such as `_+_`, as in Kubernetes' declarations.
        function: String,
        arguments: Vec<Expr>,
    },
    List(Vec<Element>),
    Map(Vec<Entry>),
    /// `Type{…}`. No type of Kubernetes' environment can be made so; the checker says that.
    Struct {
        name: String,
    },
    Comprehension(Box<Comprehension>),
}

/// An item of a list literal.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) value: Expr,
    /// `[?value]`: left out if it is `optional.none()`.
    pub(crate) optional: bool,
}

/// An entry of a map literal.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A fold, which is what every macro over a list or map becomes.
#[derive(Debug)]
pub(crate) struct Comprehension {
    pub(crate) range: Expr,
    pub(crate) variable: String,
    /// With a second variable the first is the index or key, and this one the value.
    pub(crate) second: Option<String>,
    pub(crate) accumulator: String,
    pub(crate) initial: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

impl Kind {
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match self {
            Kind::Literal(_) | Kind::Ident(_) | Kind::Struct { .. } => Vec::new(),
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call { target, arguments, .. } => target.as_deref().into_iter().chain(arguments).collect(),
            Kind::List(items) => items.iter().map(|item| &item.value).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
            Kind::Comprehension(fold) => vec![&fold.range, &fold.initial, &fold.condition, &fold.step, &fold.result],
        }
    }
}
