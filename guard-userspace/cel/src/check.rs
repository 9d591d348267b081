//! The checker: types of all nodes, what names refer to, which overloads of a function a call may mean. Rules and messages are
//! cel-go's.

mod declarations;
mod infer;
mod literals;

use std::collections::HashMap;

use crate::ast::{Comprehension, Expr, Kind};
use crate::error::CompileError;
use crate::types::Type;
use crate::value::Value;
use declarations::overloads;
use infer::{Substitutions, instantiate, most_general};

/// What a name or a call refers to.
#[derive(Clone, Debug)]
pub(crate) enum Reference {
    /// A variable of the environment, by its index.
    Variable(usize),
    /// A variable of a fold: how many are around it.
    Local(usize),
    /// A type, by its name.
    Type(&'static str),
    /// A function. Its name is not the call's where that is qualified, such as `optional.of`; then there is no target.
    Function { name: String, overload: Option<&'static str>, qualified: bool },
}

/// What the checker found out, by node.
pub(crate) struct Checked {
    pub(crate) references: Vec<Option<Reference>>,
    /// The type of the whole expression.
    pub(crate) result: Type,
}

/// The types that have a name.
const TYPE_NAMES: [&str; 15] = [
    "bool",
    "bytes",
    "double",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
    "int",
    "list",
    "map",
    "net.CIDR",
    "net.IP",
    "null_type",
    "optional_type",
    "string",
    "type",
    "uint",
];

/// Parts that a type may have.
const MAX_TYPE_WEIGHT: usize = 200;

/// Checks an expression against variables of these names and types.
pub(crate) fn check(
    source: &str,
    root: &Expr,
    nodes: usize,
    variables: &HashMap<String, (usize, Type)>,
) -> Result<Checked, CompileError> {
    let mut checker = Checker {
        source,
        variables,
        locals: Vec::new(),
        types: vec![Type::Error; nodes],
        references: vec![None; nodes],
        substitutions: Substitutions::default(),
    };
    checker.check(root)?;
    if checker.substitutions.is_exhausted() {
        return Err(CompileError::at(source, root.at, "the types of this expression are too involved to compare"));
    }
    for node in 0..checker.types.len() {
        let resolved = checker.substitutions.resolve(&checker.types[node], true);
        checker.types[node] = resolved;
    }
    literals::check(source, root, &checker.types, &checker.references)?;
    Ok(Checked { result: checker.types[root.id].clone(), references: checker.references })
}

struct Checker<'c> {
    source: &'c str,
    variables: &'c HashMap<String, (usize, Type)>,
    /// Of the folds around, the innermost last.
    locals: Vec<(String, Type)>,
    types: Vec<Type>,
    references: Vec<Option<Reference>>,
    substitutions: Substitutions,
}

type Check = Result<(), CompileError>;

impl Checker<'_> {
    fn check(&mut self, expr: &Expr) -> Check {
        let found = match &expr.kind {
            Kind::Literal(value) => literal_type(value),
            Kind::Ident(name) => {
                let (reference, found) = self.resolve(name).ok_or_else(|| self.undeclared(expr, name))?;
                self.references[expr.id] = Some(reference);
                found
            }
            Kind::Select { operand, test, .. } => self.check_select(expr, operand, *test)?,
            Kind::Call { target, function, arguments } => {
                self.check_call(expr, target.as_deref(), function, arguments)?
            }
            Kind::List(items) => {
                let mut joined = None;
                for item in items {
                    self.check(&item.value)?;
                    let found = self.unwrapped(&item.value, item.optional)?;
                    joined = Some(self.join(joined, found));
                }
                Type::list(joined.unwrap_or_else(|| self.substitutions.fresh()))
            }
            Kind::Map(entries) => {
                let (mut keys, mut values) = (None, None);
                for entry in entries {
                    self.check(&entry.key)?;
                    let found = self.types[entry.key.id].clone();
                    keys = Some(self.join(keys, found));
                    self.check(&entry.value)?;
                    let found = self.unwrapped(&entry.value, entry.optional)?;
                    values = Some(self.join(values, found));
                }
                let keys = keys.unwrap_or_else(|| self.substitutions.fresh());
                Type::map(keys, values.unwrap_or_else(|| self.substitutions.fresh()))
            }
            Kind::Struct { name } => return Err(self.undeclared(expr, name)),
            Kind::Comprehension(fold) => self.check_comprehension(fold)?,
        };
        if found.weight(MAX_TYPE_WEIGHT) >= MAX_TYPE_WEIGHT {
            return Err(self.error(expr, "the type of this expression has too many parts"));
        }
        self.types[expr.id] = found;
        Ok(())
    }

    fn check_select(&mut self, expr: &Expr, operand: &Expr, test: bool) -> Result<Type, CompileError> {
        if !test
            && let Some(name) = qualified_name(expr)
            && let Some((reference, found)) = self.resolve_qualified(&name)
        {
            self.references[expr.id] = Some(reference);
            return Ok(found);
        }
        self.check(operand)?;
        let found = self.field_type(expr, operand, false)?;
        Ok(if test { Type::Bool } else { found })
    }

    /// The type of a field of something that has fields.
    fn field_type(&mut self, expr: &Expr, operand: &Expr, optional: bool) -> Result<Type, CompileError> {
        let of = self.substitutions.resolve(&self.types[operand.id], false);
        let (inner, is_optional) = match &of {
            Type::Optional(inner) => ((**inner).clone(), true),
            _ => (of.clone(), false),
        };
        let found = match inner {
            Type::Map(pair) => pair.1.clone(),
            Type::Parameter(_) => {
                self.substitutions.assignable(&[Type::Dyn], &[inner]);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            Type::Named(ref name) if name.starts_with("kubernetes.") => {
                return Err(self.error(expr, format!("unexpected failed resolution of '{name}'")));
            }
            other => return Err(self.error(expr, format!("type '{other}' does not support field selection"))),
        };
        let found = if is_optional || optional { Type::optional(found) } else { found };
        Ok(self.substitutions.resolve(&found, false))
    }

    fn check_call(
        &mut self,
        expr: &Expr,
        target: Option<&Expr>,
        function: &str,
        arguments: &[Expr],
    ) -> Result<Type, CompileError> {
        if function == "_?._" {
            let [operand, field] = arguments else {
                return Err(self.error(expr, "unsupported optional field selection: incorrect signature."));
            };
            self.check(operand)?;
            let Kind::Literal(Value::String(_)) = &field.kind else {
                return Err(self.error(field, "unsupported optional field selection"));
            };
            self.types[field.id] = Type::String;
            return self.field_type(expr, operand, true);
        }
        let qualified = target.and_then(qualified_name).map(|prefix| format!("{prefix}.{function}"));
        let qualified = qualified.filter(|name| overloads(name).is_some());
        if qualified.is_none() && overloads(function.trim_start_matches('.')).is_none() {
            // What is wrong first is told first.
            target.map_or(Ok(()), |target| self.check(target))?;
            return Err(self.undeclared(expr, function));
        }
        for argument in arguments {
            self.check(argument)?;
        }
        let Some(target) = target else {
            return self.resolve_overload(expr, function.trim_start_matches('.'), None, arguments, false);
        };
        if let Some(name) = qualified {
            return self.resolve_overload(expr, &name, None, arguments, true);
        }
        self.check(target)?;
        self.resolve_overload(expr, function, Some(target), arguments, false)
    }

    fn resolve_overload(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        arguments: &[Expr],
        qualified: bool,
    ) -> Result<Type, CompileError> {
        let Some(candidates) = overloads(function) else {
            return Err(self.undeclared(expr, function));
        };
        let given: Vec<&Expr> = target.into_iter().chain(arguments).collect();
        if matches!(function, "_&&_" | "_||_") {
            for term in given {
                self.assert_type(term, &Type::Bool, true)?;
            }
            return Ok(Type::Bool);
        }
        let given: Vec<Type> = given.iter().map(|argument| self.types[argument.id].clone()).collect();
        let (mut result, mut ids): (Option<Type>, Vec<&'static str>) = (None, Vec::new());
        for candidate in candidates.iter().filter(|candidate| candidate.member == target.is_some()) {
            let fresh: Vec<(usize, Type)> =
                candidate.type_parameters.iter().map(|letter| (*letter, self.substitutions.fresh())).collect();
            let wanted: Vec<Type> =
                candidate.parameters.iter().map(|parameter| instantiate(parameter, &fresh)).collect();
            if !self.substitutions.assignable(&given, &wanted) {
                continue;
            }
            ids.push(candidate.id);
            let found = self.substitutions.resolve(&instantiate(&candidate.result, &fresh), false);
            result = Some(match result {
                Some(before) if before != Type::Dyn && before != found => Type::Dyn,
                Some(before) => before,
                None => found,
            });
        }
        let Some(result) = result else {
            let signature = self.signature(&given, target.is_some());
            let reason = format!("found no matching overload for '{function}' applied to '{signature}'");
            return Err(self.error(expr, reason));
        };
        let overload = if let [only] = ids.as_slice() { Some(*only) } else { None };
        self.references[expr.id] = Some(Reference::Function { name: function.to_owned(), overload, qualified });
        Ok(result)
    }

    fn signature(&mut self, given: &[Type], member: bool) -> String {
        let mut given: Vec<String> =
            given.iter().map(|given| self.substitutions.resolve(given, true).to_string()).collect();
        let target = if member { given.remove(0) + "." } else { String::new() };
        format!("{target}({})", given.join(", "))
    }

    fn check_comprehension(&mut self, fold: &Comprehension) -> Result<Type, CompileError> {
        self.check(&fold.range)?;
        self.check(&fold.initial)?;
        let range = self.substitutions.resolve(&self.types[fold.range.id], false);
        let accumulated = self.types[fold.initial.id].clone();
        let two = fold.second.is_some();
        let (first, second) = match &range {
            Type::List(item) if two => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Dyn),
            Type::Map(pair) => (pair.0.clone(), pair.1.clone()),
            Type::Dyn | Type::Error | Type::Parameter(_) => {
                self.substitutions.assignable(&[Type::Dyn], std::slice::from_ref(&range));
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let reason = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return Err(self.error(&fold.range, reason));
            }
        };
        let outside = self.locals.len();
        self.locals.push((fold.accumulator.clone(), accumulated.clone()));
        self.locals.push((fold.variable.clone(), first));
        if let Some(name) = &fold.second {
            self.locals.push((name.clone(), second));
        }
        self.check(&fold.condition)?;
        self.assert_type(&fold.condition, &Type::Bool, false)?;
        self.check(&fold.step)?;
        self.assert_type(&fold.step, &accumulated, false)?;
        self.locals.truncate(outside + 1);
        self.check(&fold.result)?;
        self.locals.truncate(outside);
        Ok(self.substitutions.resolve(&self.types[fold.result.id], false))
    }

    // === names

    fn resolve(&self, name: &str) -> Option<(Reference, Type)> {
        if let Some(global) = name.strip_prefix('.') {
            return self.resolve_global(global);
        }
        let local = self.locals.iter().rposition(|(local, _)| local == name);
        match local {
            Some(slot) => Some((Reference::Local(slot), self.locals[slot].1.clone())),
            None => self.resolve_global(name),
        }
    }

    /// A name with dots, unless it begins with that of a variable of a fold.
    fn resolve_qualified(&self, name: &str) -> Option<(Reference, Type)> {
        let first = name.split('.').next().unwrap_or_default();
        if self.locals.iter().any(|(local, _)| local == first) {
            return None;
        }
        self.resolve_global(name.strip_prefix('.').unwrap_or(name))
    }

    fn resolve_global(&self, name: &str) -> Option<(Reference, Type)> {
        if let Some((index, declared)) = self.variables.get(name) {
            return Some((Reference::Variable(*index), declared.clone()));
        }
        let name = *TYPE_NAMES.iter().find(|known| **known == name)?;
        let of = match name {
            "list" => Some(Type::list(Type::Dyn)),
            "map" => Some(Type::map(Type::Dyn, Type::Dyn)),
            "optional_type" => Some(Type::optional(Type::Dyn)),
            name => Type::parse(name),
        };
        Some((Reference::Type(name), Type::Type(of.map(Into::into))))
    }

    // === types

    /// The type of an item; of `?item`, what is in it.
    fn unwrapped(&mut self, item: &Expr, optional: bool) -> Result<Type, CompileError> {
        let found = self.types[item.id].clone();
        match found {
            Type::Optional(inner) if optional => Ok((*inner).clone()),
            Type::Dyn => Ok(Type::Dyn),
            other if optional => {
                let wanted = Type::optional(other.clone());
                Err(self.error(item, format!("expected type '{wanted}' but found '{other}'")))
            }
            other => Ok(other),
        }
    }

    /// The one type of all items of a literal.
    fn join(&mut self, before: Option<Type>, found: Type) -> Type {
        match before {
            None => found,
            Some(before)
                if self.substitutions.assignable(std::slice::from_ref(&before), std::slice::from_ref(&found)) =>
            {
                most_general(&before, &found).clone()
            }
            // Literals of several types are refused later, but for those that `format` takes.
            Some(_) => Type::Dyn,
        }
    }

    /// `given_first`: the order in which cel-go compares the two, which matters for what a parameter comes to stand for.
    fn assert_type(&mut self, expr: &Expr, wanted: &Type, given_first: bool) -> Check {
        let found = self.types[expr.id].clone();
        let (one, other) = if given_first { (&found, wanted) } else { (wanted, &found) };
        if self.substitutions.assignable(std::slice::from_ref(one), std::slice::from_ref(other)) {
            return Ok(());
        }
        Err(self.error(expr, format!("expected type '{wanted}' but found '{found}'")))
    }

    // === errors

    fn undeclared(&self, expr: &Expr, name: &str) -> CompileError {
        self.error(expr, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn error(&self, expr: &Expr, reason: impl Into<String>) -> CompileError {
        CompileError::at(self.source, expr.at, reason)
    }
}

fn literal_type(value: &Value<'_>) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Uint(_) => Type::Uint,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        _ => Type::Dyn,
    }
}

/// `a.b.c`, if the expression is nothing but names.
fn qualified_name(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", qualified_name(operand)?)),
        _ => None,
    }
}
