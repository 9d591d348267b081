//! What variables stand for in one evaluation.

use std::cell::OnceCell;

use crate::environment::Variable;
use crate::error::EvaluationError;
use crate::evaluate::{Evaluator, Outcome};
use crate::meter::Meter;
use crate::program::Program;
use crate::value::Value;

/// The values of an environment's variables: given, or worked out by a program when they are first used, and then kept. One activation
/// serves any number of programs of its environment.
#[derive(Debug, Default)]
pub struct Activation<'a> {
    bindings: Vec<Option<Binding<'a>>>,
}

#[derive(Debug)]
enum Binding<'a> {
    Value(Value<'a>),
    Program { program: &'a Program, memory: OnceCell<Outcome<Value<'a>>> },
}

impl<'a> Activation<'a> {
    /// Without any value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a variable a value.
    pub fn bind(&mut self, variable: Variable, value: impl Into<Value<'a>>) -> &mut Self {
        self.set(variable, Binding::Value(value.into()))
    }

    /// Lets a variable be what a program says, at most once, at the expense of whoever uses it first. The program may use the variables that
    /// were declared before it was compiled.
    pub fn bind_program(&mut self, variable: Variable, program: &'a Program) -> &mut Self {
        self.set(variable, Binding::Program { program, memory: OnceCell::new() })
    }

    fn set(&mut self, Variable(index): Variable, binding: Binding<'a>) -> &mut Self {
        if self.bindings.len() <= index {
            self.bindings.resize_with(index + 1, || None);
        }
        self.bindings[index] = Some(binding);
        self
    }

    /// The value of a variable. `level`: how deep in nodes whoever asks is.
    pub(crate) fn get(&self, index: usize, meter: &mut Meter, level: usize) -> Outcome<Value<'a>> {
        match self.bindings.get(index).and_then(Option::as_ref) {
            Some(Binding::Value(value)) => Ok(value.clone()),
            Some(Binding::Program { program, memory }) => {
                if let Some(outcome) = memory.get() {
                    return outcome.clone();
                }
                let outcome = Evaluator { activation: self, meter, locals: Vec::new(), level }.evaluate(program.plan());
                // What a limit ended is not the variable's value: another program may have more left.
                if outcome.as_ref().err().is_none_or(|error| error.can_be_absorbed()) {
                    return memory.get_or_init(|| outcome).clone();
                }
                outcome
            }
            None => Err(EvaluationError::failed("no such attribute(s): a variable that has no value")),
        }
    }
}
