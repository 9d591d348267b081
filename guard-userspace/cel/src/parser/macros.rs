//! Macros: calls that become folds, with the very nodes that cel-go makes, since cost counts nodes.

use super::{Parse, Parser};
use crate::ast::{Comprehension, Element, Entry, Expr, Kind};
use crate::value::Value;

/// What a fold gathers its result in. No identifier can be written so.
pub(crate) const ACCUMULATOR: &str = "@result";
/// The variable of a fold over nothing, which only binds its accumulator.
const UNUSED: &str = "#unused";

/// The nodes of a fold but for its range.
struct Fold {
    initial: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
}

impl Parser<'_> {
    pub(super) fn global_call(&mut self, at: usize, function: &str, mut arguments: Vec<Expr>) -> Parse<Expr> {
        if function != "has" || arguments.len() != 1 {
            return self.call(at, function, arguments);
        }
        let argument = arguments.remove(0);
        match argument.kind {
            Kind::Select { operand, field, test: false } => self.node(at, Kind::Select { operand, field, test: true }),
            _ => Err(self.error(argument.at, "invalid argument to has() macro")),
        }
    }

    pub(super) fn member_call(
        &mut self,
        at: usize,
        target: Expr,
        function: &str,
        mut arguments: Vec<Expr>,
    ) -> Parse<Expr> {
        match (function, arguments.len()) {
            ("all" | "exists" | "exists_one", 2 | 3) | ("existsOne", 3) => {
                self.quantifier(at, target, function, arguments)
            }
            ("map" | "filter", 2) | ("map", 3) => self.mapping(at, target, function, arguments),
            ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => {
                self.transformation(at, target, function, arguments)
            }
            ("optMap" | "optFlatMap", 2) => self.optional_map(at, target, function, arguments),
            ("sortBy", 2) => self.sort_by(at, target, arguments),
            ("bind", 3) if matches!(&target.kind, Kind::Ident(name) if name == "cel") => {
                let Kind::Ident(name) = &arguments[0].kind else {
                    return Err(self.error(arguments[0].at, "cel.bind() variable names must be simple identifiers"));
                };
                let name = name.clone();
                let result = arguments.remove(2);
                let initial = arguments.remove(1);
                self.binding(at, name, initial, result)
            }
            _ => {
                let kind = Kind::Call { target: Some(Box::new(target)), function: function.to_owned(), arguments };
                self.node(at, kind)
            }
        }
    }

    /// `all`, `exists`, `existsOne`, each with one variable or two.
    fn quantifier(&mut self, at: usize, range: Expr, function: &str, mut arguments: Vec<Expr>) -> Parse<Expr> {
        let predicate = arguments.pop().expect("a quantifier has two or three arguments");
        let (variable, second) = self.variables(&arguments, "argument must be a simple name")?;
        let fold = match function {
            "all" => {
                let accumulator = self.ident(at, ACCUMULATOR)?;
                let condition = self.call(at, "@not_strictly_false", vec![accumulator])?;
                let accumulator = self.ident(at, ACCUMULATOR)?;
                Fold {
                    initial: self.literal(at, Value::Bool(true))?,
                    condition,
                    step: self.call(at, "_&&_", vec![accumulator, predicate])?,
                    result: self.ident(at, ACCUMULATOR)?,
                }
            }
            "exists" => {
                let accumulator = self.ident(at, ACCUMULATOR)?;
                let negated = self.call(at, "!_", vec![accumulator])?;
                let condition = self.call(at, "@not_strictly_false", vec![negated])?;
                let accumulator = self.ident(at, ACCUMULATOR)?;
                Fold {
                    initial: self.literal(at, Value::Bool(false))?,
                    condition,
                    step: self.call(at, "_||_", vec![accumulator, predicate])?,
                    result: self.ident(at, ACCUMULATOR)?,
                }
            }
            _ => {
                let accumulator = self.ident(at, ACCUMULATOR)?;
                let one = self.literal(at, Value::Int(1))?;
                let more = self.call(at, "_+_", vec![accumulator, one])?;
                let step = self.unless_filtered(at, Some(predicate), more)?;
                let accumulator = self.ident(at, ACCUMULATOR)?;
                let one = self.literal(at, Value::Int(1))?;
                Fold {
                    initial: self.literal(at, Value::Int(0))?,
                    condition: self.literal(at, Value::Bool(true))?,
                    step,
                    result: self.call(at, "_==_", vec![accumulator, one])?,
                }
            }
        };
        self.fold(at, range, variable, second, fold)
    }

    /// `map` with or without a predicate, and `filter`.
    fn mapping(&mut self, at: usize, range: Expr, function: &str, mut arguments: Vec<Expr>) -> Parse<Expr> {
        let (variable, _) = self.variables(&arguments[..1], "argument is not an identifier")?;
        let last = arguments.pop().expect("two or three arguments");
        let (filter, item) = if function == "filter" {
            (Some(last), self.ident(at, &variable)?)
        } else {
            (if arguments.len() == 2 { arguments.pop() } else { None }, last)
        };
        let fold = self.gathering(at, filter, item)?;
        self.fold(at, range, variable, None, fold)
    }

    /// `transformList`, `transformMap`, `transformMapEntry`.
    fn transformation(&mut self, at: usize, range: Expr, function: &str, mut arguments: Vec<Expr>) -> Parse<Expr> {
        let (variable, second) = self.variables(&arguments[..2], "argument must be a simple name")?;
        let transform = arguments.pop().expect("three or four arguments");
        let filter = if arguments.len() == 3 { arguments.pop() } else { None };
        let fold = if function == "transformList" {
            self.gathering(at, filter, transform)?
        } else {
            let mut inserted = vec![self.ident(at, ACCUMULATOR)?];
            if function == "transformMap" {
                inserted.push(self.ident(at, &variable)?);
            }
            inserted.push(transform);
            let step = self.call(at, "cel.@mapInsert", inserted)?;
            Fold {
                initial: self.node(at, Kind::Map(Vec::<Entry>::new()))?,
                condition: self.literal(at, Value::Bool(true))?,
                step: self.unless_filtered(at, filter, step)?,
                result: self.ident(at, ACCUMULATOR)?,
            }
        };
        self.fold(at, range, variable, second, fold)
    }

    /// `target.hasValue() ? optional.of(<with the value bound>) : optional.none()`.
    fn optional_map(&mut self, at: usize, target: Expr, function: &str, mut arguments: Vec<Expr>) -> Parse<Expr> {
        let Kind::Ident(name) = &arguments[0].kind else {
            let reason = format!("{function}() variable name must be a simple identifier");
            return Err(self.error(arguments[0].at, reason));
        };
        let name = name.clone();
        let transform = arguments.pop().expect("two arguments");
        let again = self.copy(&target)?;
        let has_value = self.member_function(at, target, "hasValue", Vec::new())?;
        let value = self.member_function(at, again, "value", Vec::new())?;
        let mut bound = self.binding(at, name, value, transform)?;
        if function == "optMap" {
            bound = self.qualified_call(at, "of", vec![bound])?;
        }
        let none = self.qualified_call(at, "none", Vec::new())?;
        self.call(at, "_?_:_", vec![has_value, bound, none])
    }

    /// The list, sorted by what the expression is for each item.
    fn sort_by(&mut self, at: usize, target: Expr, arguments: Vec<Expr>) -> Parse<Expr> {
        const INPUT: &str = "@__sortBy_input__";
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
            let reason = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err(self.error(target.at, reason));
        }
        let input = self.ident(at, INPUT)?;
        let keys = self.mapping(at, input, "map", arguments)?;
        let input = self.ident(at, INPUT)?;
        let sorted = self.member_function(at, input, "@sortByAssociatedKeys", vec![keys])?;
        self.binding(at, INPUT.to_owned(), target, sorted)
    }

    /// `name` is `initial` in `result`: a fold over nothing whose accumulator it is.
    fn binding(&mut self, at: usize, name: String, initial: Expr, result: Expr) -> Parse<Expr> {
        let range = self.node(at, Kind::List(Vec::new()))?;
        let condition = self.literal(at, Value::Bool(false))?;
        let step = self.ident(at, &name)?;
        let fold = Comprehension {
            range,
            variable: UNUSED.to_owned(),
            second: None,
            accumulator: name,
            initial,
            condition,
            step,
            result,
        };
        self.node(at, Kind::Comprehension(Box::new(fold)))
    }

    /// Items into a list: those that pass the filter, if there is one.
    fn gathering(&mut self, at: usize, filter: Option<Expr>, item: Expr) -> Parse<Fold> {
        let accumulator = self.ident(at, ACCUMULATOR)?;
        let added = self.node(at, Kind::List(vec![Element { value: item, optional: false }]))?;
        let step = self.call(at, "_+_", vec![accumulator, added])?;
        Ok(Fold {
            initial: self.node(at, Kind::List(Vec::new()))?,
            condition: self.literal(at, Value::Bool(true))?,
            step: self.unless_filtered(at, filter, step)?,
            result: self.ident(at, ACCUMULATOR)?,
        })
    }

    fn unless_filtered(&mut self, at: usize, filter: Option<Expr>, step: Expr) -> Parse<Expr> {
        let Some(filter) = filter else { return Ok(step) };
        let unchanged = self.ident(at, ACCUMULATOR)?;
        self.call(at, "_?_:_", vec![filter, step, unchanged])
    }

    fn fold(
        &mut self,
        at: usize,
        range: Expr,
        variable: String,
        second: Option<String>,
        Fold { initial, condition, step, result }: Fold,
    ) -> Parse<Expr> {
        let accumulator = ACCUMULATOR.to_owned();
        let fold = Comprehension { range, variable, second, accumulator, initial, condition, step, result };
        self.node(at, Kind::Comprehension(Box::new(fold)))
    }

    /// The one or two names that a macro begins with.
    fn variables(&mut self, arguments: &[Expr], not_a_name: &str) -> Parse<(String, Option<String>)> {
        let mut names = Vec::new();
        for argument in arguments {
            match &argument.kind {
                Kind::Ident(name) if name == "__result__" => {
                    return Err(self.error(argument.at, "iteration variable overwrites accumulator variable"));
                }
                Kind::Ident(name) => names.push(name.clone()),
                _ => return Err(self.error(argument.at, not_a_name)),
            }
        }
        if let [first, second] = names.as_slice()
            && first == second
        {
            return Err(self.error(arguments[1].at, format!("duplicate variable name: {first}")));
        }
        let mut names = names.into_iter();
        Ok((names.next().unwrap_or_default(), names.next()))
    }

    fn member_function(&mut self, at: usize, target: Expr, function: &str, arguments: Vec<Expr>) -> Parse<Expr> {
        self.node(at, Kind::Call { target: Some(Box::new(target)), function: function.to_owned(), arguments })
    }

    /// A function of `optional`, by its whole name, so that no variable of that name comes between.
    fn qualified_call(&mut self, at: usize, function: &str, arguments: Vec<Expr>) -> Parse<Expr> {
        self.call(at, &format!("optional.{function}"), arguments)
    }

    /// The same tree with ids of its own.
    fn copy(&mut self, of: &Expr) -> Parse<Expr> {
        let boxed = |parser: &mut Self, expr: &Expr| parser.copy(expr).map(Box::new);
        let kind = match &of.kind {
            Kind::Literal(value) => Kind::Literal(value.clone()),
            Kind::Ident(name) => Kind::Ident(name.clone()),
            Kind::Struct { name } => Kind::Struct { name: name.clone() },
            Kind::Select { operand, field, test } => {
                Kind::Select { operand: boxed(self, operand)?, field: field.clone(), test: *test }
            }
            Kind::Call { target, function, arguments } => Kind::Call {
                target: target.as_ref().map(|target| boxed(self, target)).transpose()?,
                function: function.clone(),
                arguments: arguments.iter().map(|argument| self.copy(argument)).collect::<Parse<_>>()?,
            },
            Kind::List(items) => Kind::List(
                items
                    .iter()
                    .map(|item| Ok(Element { value: self.copy(&item.value)?, optional: item.optional }))
                    .collect::<Parse<_>>()?,
            ),
            Kind::Map(entries) => Kind::Map(
                entries
                    .iter()
                    .map(|entry| {
                        let (key, value) = (self.copy(&entry.key)?, self.copy(&entry.value)?);
                        Ok(Entry { key, value, optional: entry.optional })
                    })
                    .collect::<Parse<_>>()?,
            ),
            Kind::Comprehension(fold) => Kind::Comprehension(Box::new(Comprehension {
                range: self.copy(&fold.range)?,
                variable: fold.variable.clone(),
                second: fold.second.clone(),
                accumulator: fold.accumulator.clone(),
                initial: self.copy(&fold.initial)?,
                condition: self.copy(&fold.condition)?,
                step: self.copy(&fold.step)?,
                result: self.copy(&fold.result)?,
            })),
        };
        self.node(of.at, kind)
    }
}
