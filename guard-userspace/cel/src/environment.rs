//! Variables that expressions may use.

use std::collections::HashMap;

use crate::check::check;
use crate::error::CompileError;
use crate::parser::parse;
use crate::plan::plan;
use crate::program::Program;
use crate::types::Type;

/// Declared variables, beside Kubernetes' functions.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: HashMap<String, (usize, Type)>,
}

/// A variable that was declared; an [`Activation`](crate::Activation) gives it a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable(pub(crate) usize);

impl Environment {
    /// Without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a variable. A name may have dots: `variables.image`. Declared again, it is the same variable with another type.
    pub fn declare(&mut self, name: &str, of: Type) -> Variable {
        let next = self.variables.len();
        let (index, declared) = self.variables.entry(name.to_owned()).or_insert((next, Type::Dyn));
        *declared = of;
        Variable(*index)
    }

    /// Compiles an expression: everything that can be said about it without values is said now.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let parsed = parse(source)?;
        let checked = check(source, &parsed.root, parsed.nodes, &self.variables)?;
        let plan = plan(source, &parsed.root, &checked.references)?;
        Ok(Program::new(plan, checked.result))
    }

    /// Compiles an expression that must be of a type; `dyn` is taken for any, and judged when it is evaluated.
    pub fn compile_as(&self, source: &str, wanted: &Type) -> Result<Program, CompileError> {
        let program = self.compile(source)?;
        let found = program.result_type();
        if found == wanted || *found == Type::Dyn {
            return Ok(program);
        }
        Err(CompileError::at(source, 0, format!("must evaluate to {wanted}, not {found}")))
    }
}
