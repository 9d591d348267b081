//! Literals that can never be right, refused when the expression is compiled: what Kubernetes' environment validates.

use crate::ast::{Expr, Kind};
use crate::check::Reference;
use crate::error::CompileError;
use crate::library;
use crate::types::Type;
use crate::value::Value;

/// Durations, timestamps and regular expressions that can't be read; lists and maps of several types.
pub(super) fn check(
    source: &str,
    root: &Expr,
    types: &[Type],
    references: &[Option<Reference>],
) -> Result<(), CompileError> {
    let validator = Validator { source, types, references };
    validator.visit(root, false)
}

struct Validator<'c> {
    source: &'c str,
    types: &'c [Type],
    references: &'c [Option<Reference>],
}

impl Validator<'_> {
    fn visit(&self, expr: &Expr, in_format: bool) -> Result<(), CompileError> {
        let mut in_format = in_format;
        match &expr.kind {
            Kind::Call { target, function, arguments } => {
                self.argument(function, arguments)?;
                in_format |= function == "format";
                if let (Some(target), "format", [list]) = (target, function.as_str(), arguments.as_slice()) {
                    self.format_call(expr, target, list)?;
                }
            }
            Kind::List(items) if !in_format => {
                self.same(items.iter().map(|item| (&item.value, item.optional)))?;
            }
            Kind::Map(entries) if !in_format => {
                self.same(entries.iter().map(|entry| (&entry.key, false)))?;
                self.same(entries.iter().map(|entry| (&entry.value, entry.optional)))?;
            }
            _ => {}
        }
        expr.kind.children().into_iter().try_for_each(|child| self.visit(child, in_format))
    }

    fn argument(&self, function: &str, arguments: &[Expr]) -> Result<(), CompileError> {
        let Some(Expr { kind: Kind::Literal(value), at, .. }) = arguments.first() else { return Ok(()) };
        let valid = match (function, value) {
            ("duration", Value::String(text)) => library::parse_duration(text).is_some(),
            ("timestamp", Value::String(text)) => crate::Timestamp::parse(text).is_some(),
            ("timestamp", Value::Int(seconds)) => crate::Timestamp::new(*seconds, 0, 0).is_some(),
            ("matches", Value::String(pattern)) => library::compile_regex(pattern).is_ok(),
            _ => true,
        };
        if valid { Ok(()) } else { Err(self.error(*at, format!("invalid {function} argument"))) }
    }

    /// All of one type; what is `dyn` goes with `dyn` alone.
    fn same<'e>(&self, items: impl Iterator<Item = (&'e Expr, bool)>) -> Result<(), CompileError> {
        let mut first: Option<&Type> = None;
        for (item, optional) in items {
            let found = match &self.types[item.id] {
                Type::Optional(inner) if optional => inner,
                other => other,
            };
            match first {
                None => first = Some(found),
                Some(first) if first == found => {}
                Some(first) => {
                    return Err(self.error(item.at, format!("expected type '{first}' but found '{found}'")));
                }
            }
        }
        Ok(())
    }

    /// A literal template with a literal list: each clause must take the type of its argument.
    fn format_call(&self, expr: &Expr, target: &Expr, list: &Expr) -> Result<(), CompileError> {
        let is_format = matches!(&self.references[expr.id], Some(Reference::Function { name, qualified: false, .. }) if name == "format");
        let (true, Kind::Literal(Value::String(template)), Kind::List(items)) = (is_format, &target.kind, &list.kind)
        else {
            return Ok(());
        };
        let mut used = 0;
        let checked = library::visit_template(template, |clause| {
            let item = items.get(used).ok_or_else(|| format!("index {used} out of range"))?;
            used += 1;
            clause.check_type(&self.types[item.value.id])
        });
        checked.map_err(|reason| self.error(expr.at, reason))?;
        if items.len() > used {
            let reason = format!("too many arguments supplied to string.format (expected {used}, got {})", items.len());
            return Err(self.error(expr.at, reason));
        }
        Ok(())
    }

    fn error(&self, at: usize, reason: impl Into<String>) -> CompileError {
        CompileError::at(self.source, at, reason)
    }
}
