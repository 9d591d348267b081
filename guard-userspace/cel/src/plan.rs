//! The checked tree, made ready to be evaluated: names resolved to slots, constants worked out, regular expressions compiled, and
//! each call's way of counting cost chosen. What is constant, and what shares a cost, is decided as cel-go decides it.

mod cost;

use std::sync::Arc;

use crate::ast::{Comprehension, Expr, Kind};
use crate::check::Reference;
use crate::error::CompileError;
use crate::library::{self, Implementation, Pattern};
use crate::meter::Meter;
use crate::value::{Key, Value};
pub(crate) use cost::CostRule;

/// A node of the plan.
#[derive(Debug)]
pub(crate) enum Node {
    Constant(Value<'static>),
    /// A variable, something selected of anything, or a conditional.
    Attribute(Box<Attribute>),
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Equal {
        sides: Box<[Node; 2]>,
        negated: bool,
    },
    Call(Box<Call>),
    /// `item in [constants]`.
    InConstants {
        item: Box<Node>,
        list: Value<'static>,
    },
    /// `a.or(b)`, `a.orValue(b)`: the second is evaluated only if it is needed.
    Alternative {
        sides: Box<[Node; 2]>,
        of_value: bool,
    },
    List(Box<[Item]>),
    Map(Box<[(Node, Item)]>),
    Fold(Box<Fold>),
    /// A name for a value in an expression; the value is worked out when the name is first used.
    Bind {
        initial: Box<Node>,
        result: Box<Node>,
    },
    /// `@result + [item]` in a fold, done in place.
    Append {
        slot: usize,
        item: Box<Node>,
    },
    /// `cel.@mapInsert(@result, key, value)` in a fold, done in place; without a key the value is a map of entries.
    Insert {
        slot: usize,
        key: Option<Box<Node>>,
        value: Box<Node>,
    },
}

/// An item of a list, or a value of a map.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) node: Node,
    pub(crate) optional: bool,
}

#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) base: Base,
    pub(crate) qualifiers: Vec<Qualifier>,
}

#[derive(Debug)]
pub(crate) enum Base {
    Variable(usize),
    Local(usize),
    Node(Node),
    Conditional {
        condition: Node,
        /// Branches that are attributes are resolved without the cost of one, as in cel-go.
        branches: Box<[Branch; 2]>,
    },
}

#[derive(Debug)]
pub(crate) enum Branch {
    Attribute(Attribute),
    Node(Node),
}

#[derive(Debug)]
pub(crate) struct Qualifier {
    pub(crate) key: QualifierKey,
    /// `.?key` or `[?key]`.
    pub(crate) optional: bool,
    /// `has(….key)`.
    pub(crate) test: bool,
}

#[derive(Debug)]
pub(crate) enum QualifierKey {
    Constant(Value<'static>),
    Attribute(Attribute),
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) implementation: Implementation,
    pub(crate) arguments: Box<[Node]>,
    pub(crate) cost: CostRule,
    /// A constant pattern, and which function it is for.
    pub(crate) pattern: Option<Pattern>,
    /// The first error ends it before the other arguments are evaluated, and before it costs anything.
    pub(crate) stops_at_error: bool,
}

#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) range: Node,
    pub(crate) two_variables: bool,
    pub(crate) initial: Value<'static>,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

impl Attribute {
    fn of(base: Base) -> Self {
        Self { base, qualifiers: Vec::new() }
    }

    /// What cel-go charges for the attribute itself, its qualifiers apart.
    pub(crate) fn cost(&self) -> u64 {
        u64::from(!matches!(self.base, Base::Conditional { .. }))
    }

    /// Whether it is a test for presence, for which that charge is taken back.
    pub(crate) fn is_test(&self) -> bool {
        self.qualifiers.last().is_some_and(|qualifier| qualifier.test)
    }
}

/// Makes the plan of a checked tree.
pub(crate) fn plan(source: &str, root: &Expr, references: &[Option<Reference>]) -> Result<Node, CompileError> {
    Planner { source, references, locals: 0 }.node(root)
}

struct Planner<'p> {
    source: &'p str,
    references: &'p [Option<Reference>],
    /// Variables of the folds around.
    locals: usize,
}

type Plan<T> = Result<T, CompileError>;

impl Planner<'_> {
    fn node(&mut self, expr: &Expr) -> Plan<Node> {
        Ok(match &expr.kind {
            Kind::Literal(value) => Node::Constant(value.clone()),
            Kind::Ident(_) => self.name(expr)?,
            Kind::Select { operand, field, test } => {
                if self.references[expr.id].is_some() {
                    return self.name(expr);
                }
                let operand = self.node(operand)?;
                let key = QualifierKey::Constant(Value::from(field.clone()));
                qualified(operand, Qualifier { key, optional: false, test: *test })
            }
            Kind::Call { target, function, arguments } => self.call(expr, target.as_deref(), function, arguments)?,
            Kind::List(items) => {
                let items = items
                    .iter()
                    .map(|item| Ok(Item { node: self.node(&item.value)?, optional: item.optional }))
                    .collect::<Plan<Vec<_>>>()?;
                list(items)
            }
            Kind::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|entry| {
                        let key = self.node(&entry.key)?;
                        Ok((key, Item { node: self.node(&entry.value)?, optional: entry.optional }))
                    })
                    .collect::<Plan<Vec<_>>>()?;
                map(entries)
            }
            Kind::Struct { name } => return Err(self.error(expr, format!("unknown type: {name}"))),
            Kind::Comprehension(fold) => self.fold(fold)?,
        })
    }

    fn name(&self, expr: &Expr) -> Plan<Node> {
        Ok(match &self.references[expr.id] {
            Some(Reference::Variable(index)) => Node::Attribute(Box::new(Attribute::of(Base::Variable(*index)))),
            Some(Reference::Local(slot)) => Node::Attribute(Box::new(Attribute::of(Base::Local(*slot)))),
            Some(Reference::Type(name)) => Node::Constant(Value::Type(Arc::from(*name))),
            _ => return Err(self.error(expr, "a name without a reference")),
        })
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, arguments: &[Expr]) -> Plan<Node> {
        let (name, overload, qualified_call) = match &self.references[expr.id] {
            Some(Reference::Function { name, overload, qualified }) => (name.as_str(), *overload, *qualified),
            _ => (function, None, false),
        };
        let target = target.filter(|_| !qualified_call);
        let mut nodes =
            target.into_iter().chain(arguments).map(|argument| self.node(argument)).collect::<Plan<Vec<_>>>()?;
        Ok(match name {
            "_&&_" => Node::And(nodes.into()),
            "_||_" => Node::Or(nodes.into()),
            "_==_" | "_!=_" => Node::Equal { sides: Box::new(self.pair(expr, nodes)?), negated: name == "_!=_" },
            "or" | "orValue" => {
                Node::Alternative { sides: Box::new(self.pair(expr, nodes)?), of_value: name == "orValue" }
            }
            "_[_]" | "_[?_]" | "_?._" => {
                let [operand, index] = self.pair(expr, nodes)?;
                let key = match index {
                    Node::Constant(value) => {
                        if Key::of(&value).is_none() {
                            return Err(self.error(expr, format!("invalid qualifier type: {}", value.type_name())));
                        }
                        QualifierKey::Constant(value)
                    }
                    Node::Attribute(attribute) => QualifierKey::Attribute(*attribute),
                    other => QualifierKey::Attribute(Attribute::of(Base::Node(other))),
                };
                qualified(operand, Qualifier { key, optional: name != "_[_]", test: false })
            }
            "_?_:_" => {
                let [other, one] = [nodes.pop(), nodes.pop()];
                let (Some(condition), Some(one), Some(other)) = (nodes.pop(), one, other) else {
                    return Err(self.error(expr, "a conditional without its parts"));
                };
                let branches = [one, other].map(|branch| match branch {
                    Node::Attribute(attribute) => Branch::Attribute(*attribute),
                    other => Branch::Node(other),
                });
                Node::Attribute(Box::new(Attribute::of(Base::Conditional { condition, branches: Box::new(branches) })))
            }
            "@in" if overload == Some("in_list") => match self.pair(expr, nodes)? {
                [_, Node::Constant(Value::List(list))] if list.is_empty() => Node::Constant(Value::Bool(false)),
                [item, Node::Constant(list)] if is_set(&list) => Node::InConstants { item: Box::new(item), list },
                pair => self.function(expr, name, overload, pair.into())?,
            },
            "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "type" | "uint" => {
                if let [Node::Constant(value)] = nodes.as_slice() {
                    let implementation = self.implementation(expr, name)?;
                    let folded = implementation(&mut Meter::for_constants(), std::slice::from_ref(value));
                    return folded.map(Node::Constant).map_err(|error| self.error(expr, error.to_string()));
                }
                self.function(expr, name, overload, nodes)?
            }
            _ => self.function(expr, name, overload, nodes)?,
        })
    }

    fn function(&self, expr: &Expr, name: &str, overload: Option<&'static str>, arguments: Vec<Node>) -> Plan<Node> {
        let pattern = match arguments.get(1) {
            Some(Node::Constant(Value::String(pattern))) if matches!(name, "matches" | "find" | "findAll") => {
                let compiled = library::compile_regex(pattern).map_err(|reason| self.error(expr, reason))?;
                Some(Pattern::new(name, compiled))
            }
            _ => None,
        };
        Ok(Node::Call(Box::new(Call {
            implementation: self.implementation(expr, name)?,
            cost: CostRule::of(name, overload),
            stops_at_error: arguments.len() > 2 || pattern.is_some(),
            arguments: arguments.into(),
            pattern,
        })))
    }

    fn implementation(&self, expr: &Expr, name: &str) -> Plan<Implementation> {
        library::implementation(name).ok_or_else(|| self.error(expr, format!("no such overload: {name}")))
    }

    fn fold(&mut self, fold: &Comprehension) -> Plan<Node> {
        let slot = self.locals;
        let range = self.node(&fold.range)?;
        let initial = self.node(&fold.initial)?;
        let Node::Constant(initial) = initial else {
            return self.bind(initial, &fold.result);
        };
        if matches!(&fold.condition.kind, Kind::Literal(Value::Bool(false))) {
            return self.bind(Node::Constant(initial), &fold.result);
        }
        self.locals = slot + 2 + usize::from(fold.second.is_some());
        let condition = self.node(&fold.condition)?;
        let step = self.step(&fold.step, slot)?;
        self.locals = slot + 1;
        let result = self.node(&fold.result)?;
        self.locals = slot;
        let two_variables = fold.second.is_some();
        Ok(Node::Fold(Box::new(Fold { range, two_variables, initial, condition, step, result })))
    }

    /// Macros that fold over something begin with a constant, so anything else is a name for a value.
    fn bind(&mut self, initial: Node, result: &Expr) -> Plan<Node> {
        self.locals += 1;
        let result = self.node(result)?;
        self.locals -= 1;
        Ok(Node::Bind { initial: Box::new(initial), result: Box::new(result) })
    }

    /// The step of a fold whose accumulator is in `slot`: what only adds to it is done in place.
    fn step(&mut self, step: &Expr, slot: usize) -> Plan<Node> {
        let Kind::Call { target: None, function, arguments } = &step.kind else { return self.node(step) };
        let is_accumulator =
            |expr: &Expr| matches!(self.references[expr.id], Some(Reference::Local(local)) if local == slot);
        match (function.as_str(), arguments.as_slice()) {
            ("_+_", [accumulator, Expr { kind: Kind::List(items), .. }])
                if is_accumulator(accumulator) && items.len() == 1 && !items[0].optional =>
            {
                let item = self.node(&items[0].value)?;
                // A list of constants costs nothing to make.
                Ok(Node::Append { slot, item: Box::new(item) })
            }
            ("cel.@mapInsert", [accumulator, value]) if is_accumulator(accumulator) => {
                Ok(Node::Insert { slot, key: None, value: Box::new(self.node(value)?) })
            }
            ("cel.@mapInsert", [accumulator, key, value]) if is_accumulator(accumulator) => {
                let key = Some(Box::new(self.node(key)?));
                Ok(Node::Insert { slot, key, value: Box::new(self.node(value)?) })
            }
            ("_?_:_", [condition, one, other]) => {
                let condition = self.node(condition)?;
                let branches = [self.step(one, slot)?, self.step(other, slot)?].map(|branch| match branch {
                    Node::Attribute(attribute) => Branch::Attribute(*attribute),
                    other => Branch::Node(other),
                });
                Ok(Node::Attribute(Box::new(Attribute::of(Base::Conditional {
                    condition,
                    branches: Box::new(branches),
                }))))
            }
            _ => self.node(step),
        }
    }

    fn pair(&self, expr: &Expr, nodes: Vec<Node>) -> Plan<[Node; 2]> {
        nodes.try_into().map_err(|_| self.error(expr, "an operator without its two sides"))
    }

    fn error(&self, expr: &Expr, reason: impl Into<String>) -> CompileError {
        CompileError::at(self.source, expr.at, reason)
    }
}

/// One more qualifier on something.
fn qualified(operand: Node, qualifier: Qualifier) -> Node {
    let mut attribute = match operand {
        // A test for presence is over: what is asked of its answer is asked of a value.
        Node::Attribute(attribute) if !attribute.is_test() => attribute,
        other => Box::new(Attribute::of(Base::Node(other))),
    };
    attribute.qualifiers.push(qualifier);
    Node::Attribute(attribute)
}

/// A list literal; of constants, a constant.
fn list(items: Vec<Item>) -> Node {
    let constants: Option<Vec<Value<'static>>> = items
        .iter()
        .map(|item| match &item.node {
            Node::Constant(value) if !item.optional => Some(value.clone()),
            _ => None,
        })
        .collect();
    constants.map_or_else(|| Node::List(items.into()), |values| Node::Constant(Value::from(values)))
}

/// A map literal; of constants, a constant.
fn map(entries: Vec<(Node, Item)>) -> Node {
    let constants: Option<Vec<(Key<'static>, Value<'static>)>> = entries
        .iter()
        .map(|(key, item)| match (key, &item.node) {
            (Node::Constant(key), Node::Constant(value)) if !item.optional => Some((Key::of(key)?, value.clone())),
            _ => None,
        })
        .collect();
    constants.map_or_else(|| Node::Map(entries.into()), |entries| Node::Constant(entries.into_iter().collect()))
}

/// Whether `in` a constant list is looked up in a set, which costs nothing.
fn is_set(list: &Value<'_>) -> bool {
    let Value::List(list) = list else { return false };
    list.iter().all(|item| Key::of(&item).is_some())
}
