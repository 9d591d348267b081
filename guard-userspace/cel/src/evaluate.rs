//! The evaluator: a plan and values in, a value or an error out, everything it does counted before it is done.

mod attribute;
mod fold;

use std::sync::Arc;

use crate::activation::Activation;
use crate::error::EvaluationError;
use crate::meter::Meter;
use crate::plan::{Call, CostRule, Item, Node};
use crate::value::{Entries, Key, Map, Value};

pub(crate) type Outcome<T> = Result<T, Box<EvaluationError>>;

/// Levels of nodes, those of variables that are worked out on the way included. A tree alone never has so many.
const MAX_LEVELS: usize = 2 * crate::limits::MAX_DEPTH;

/// Evaluates one plan.
pub(crate) struct Evaluator<'e, 'p, 'a> {
    pub(crate) activation: &'e Activation<'a>,
    pub(crate) meter: &'e mut Meter,
    pub(crate) locals: Vec<Local<'p, 'a>>,
    pub(crate) level: usize,
}

/// A variable of a fold, or a name for a value.
pub(crate) enum Local<'p, 'a> {
    Known(Outcome<Value<'a>>),
    /// Not used yet.
    Later(&'p Node),
}

impl<'p, 'a> Evaluator<'_, 'p, 'a> {
    pub(crate) fn evaluate(&mut self, node: &'p Node) -> Outcome<Value<'a>> {
        self.meter.step()?;
        if self.level == MAX_LEVELS {
            return Err(Box::new(EvaluationError::Depth { limit: MAX_LEVELS }));
        }
        self.level += 1;
        let outcome = match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Attribute(attribute) => self.attribute(attribute),
            Node::And(terms) => self.logical(terms, false),
            Node::Or(terms) => self.logical(terms, true),
            Node::Equal { sides, negated } => self.equal(sides, *negated),
            Node::Call(call) => self.call(call),
            Node::InConstants { item, list } => self.in_constants(item, list),
            Node::Alternative { sides, of_value } => self.alternative(sides, *of_value),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind { initial, result } => {
                self.locals.push(Local::Later(initial));
                let outcome = self.evaluate(result);
                self.locals.pop();
                outcome
            }
            Node::Append { slot, item } => self.append(*slot, item),
            Node::Insert { slot, key, value } => self.insert(*slot, key.as_deref(), value),
        };
        self.level -= 1;
        outcome
    }

    /// `&&` if `decisive` is false, `||` if it is true: one decisive term is enough, even beside errors.
    fn logical(&mut self, terms: &'p [Node], decisive: bool) -> Outcome<Value<'a>> {
        let mut first_error = None;
        for term in terms {
            match self.evaluate(term) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => first_error = first_error.or_else(|| Some(EvaluationError::no_such_overload())),
                Err(error) if error.can_be_absorbed() => first_error = first_error.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        first_error.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn equal(&mut self, sides: &'p [Node; 2], negated: bool) -> Outcome<Value<'a>> {
        let [one, other] = [absorbed(self.evaluate(&sides[0]))?, absorbed(self.evaluate(&sides[1]))?];
        let rule = if negated { CostRule::Smaller } else { CostRule::Equality };
        let (one, other) = match (one, other) {
            (Ok(one), Ok(other)) => (one, other),
            (one, other) => return self.charge_for_error(rule, [one, other].into()),
        };
        let values = [one, other];
        rule.charge(&values, None, self.meter)?;
        let equal = values[0].equals(&values[1], self.meter);
        match equal {
            Ok(equal) => Ok(Value::Bool(equal != negated)),
            // What can't be compared is not equal.
            Err(error) if negated && error.can_be_absorbed() => Ok(Value::Bool(true)),
            Err(error) => Err(error),
        }
    }

    fn call(&mut self, call: &'p Call) -> Outcome<Value<'a>> {
        // Most calls have one argument or two, and need no memory of their own for them.
        let mut few = [const { Value::Null }; 2];
        let mut many;
        let arguments = if call.arguments.len() <= few.len() {
            &mut few[..call.arguments.len()]
        } else {
            many = vec![Value::Null; call.arguments.len()];
            &mut many[..]
        };
        let mut first_error = None;
        for (argument, node) in arguments.iter_mut().zip(&call.arguments) {
            match absorbed(self.evaluate(node))? {
                Ok(value) => *argument = value,
                Err(error) if call.stops_at_error => return Err(error),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(error) = first_error {
            call.cost.charge(arguments, None, self.meter)?;
            return Err(error);
        }
        let outcome = match &call.pattern {
            Some(pattern) => pattern.call(self.meter, arguments),
            None => (call.implementation)(self.meter, arguments),
        };
        let result = absorbed(outcome)?;
        call.cost.charge(arguments, result.as_ref().ok(), self.meter)?;
        result
    }

    /// What a call costs whose arguments failed; the first error is what it ends with.
    fn charge_for_error(&mut self, rule: CostRule, arguments: Vec<Outcome<Value<'a>>>) -> Outcome<Value<'a>> {
        let mut first_error = None;
        let values: Vec<Value<'a>> = arguments
            .into_iter()
            .map(|argument| {
                argument.unwrap_or_else(|error| {
                    first_error.get_or_insert(error);
                    Value::Null
                })
            })
            .collect();
        rule.charge(&values, None, self.meter)?;
        Err(first_error.expect("it is called when an argument failed"))
    }

    fn in_constants(&mut self, item: &'p Node, list: &Value<'static>) -> Outcome<Value<'a>> {
        let item = self.evaluate(item)?;
        let Value::List(list) = list else { return Err(EvaluationError::no_such_overload()) };
        for candidate in list.iter() {
            // Sets of constants hold nothing that can't be compared; the item may be anything.
            if Key::of(&item).is_some() && item.equals(&candidate, self.meter)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }

    fn alternative(&mut self, sides: &'p [Node; 2], of_value: bool) -> Outcome<Value<'a>> {
        match self.evaluate(&sides[0])? {
            Value::Optional(None) => self.evaluate(&sides[1]),
            Value::Optional(Some(inner)) if of_value => Ok((*inner).clone()),
            optional @ Value::Optional(_) => Ok(optional),
            _ => Err(EvaluationError::no_such_overload()),
        }
    }

    fn list(&mut self, items: &'p [Item]) -> Outcome<Value<'a>> {
        self.meter.allocate_items(items.len())?;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let value = self.evaluate(&item.node)?;
            values.extend(taken(value, item.optional, || "list element".to_owned())?);
        }
        self.meter.charge(10)?;
        Ok(Value::from(values))
    }

    fn map(&mut self, entries: &'p [(Node, Item)]) -> Outcome<Value<'a>> {
        self.meter.allocate_items(2 * entries.len())?;
        let mut made = Entries::default();
        for (key, item) in entries {
            let key = self.evaluate(key)?;
            let value = self.evaluate(&item.node)?;
            let value = taken(value, item.optional, || format!("entry '{}'", key.canonical()))?;
            let key = Key::of(&key)
                .ok_or_else(|| EvaluationError::failed(format!("unsupported key type: {}", key.type_name())))?;
            match value {
                Some(value) => made.0.insert(key, value),
                None => made.0.remove(&key),
            };
        }
        self.meter.charge(30)?;
        Ok(Value::Map(Map::Owned(Arc::new(made))))
    }
}

/// An error that CEL can go on after stays a value of its own; a limit ends the evaluation.
pub(crate) fn absorbed<T>(outcome: Outcome<T>) -> Outcome<Outcome<T>> {
    match outcome {
        Err(error) if !error.can_be_absorbed() => Err(error),
        other => Ok(other),
    }
}

/// What `?value` adds to a literal, or a plain value.
fn taken(value: Value<'_>, optional: bool, what: impl Fn() -> String) -> Outcome<Option<Value<'_>>> {
    match value {
        value if !optional => Ok(Some(value)),
        Value::Optional(inner) => Ok(inner.map(|inner| (*inner).clone())),
        value => Err(EvaluationError::failed(format!(
            "cannot initialize optional {} from non-optional value {}",
            what(),
            value.canonical()
        ))),
    }
}
