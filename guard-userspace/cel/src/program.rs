//! Compiled expressions.

use crate::activation::Activation;
use crate::error::EvaluationError;
use crate::evaluate::Evaluator;
use crate::limits::Limits;
use crate::meter::Meter;
use crate::plan::Node;
use crate::types::Type;
use crate::value::Value;

/// An expression, ready to be evaluated any number of times, by any number of threads.
#[derive(Debug)]
pub struct Program {
    plan: Node,
    result: Type,
}

/// What came of an evaluation.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The value, or why there is none.
    pub outcome: Result<Value<'a>, EvaluationError>,
    /// As cel-go counts it, in the API server's environment.
    pub cost: u64,
    /// As this crate counts: see [`Limits::steps`].
    pub steps: u64,
}

impl Program {
    pub(crate) fn new(plan: Node, result: Type) -> Self {
        Self { plan, result }
    }

    pub(crate) fn plan(&self) -> &Node {
        &self.plan
    }

    /// The type of its value, as far as it is known before there is one.
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// Evaluates the expression within limits.
    pub fn evaluate<'a>(&self, activation: &Activation<'a>, limits: Limits) -> Evaluation<'a> {
        let mut meter = Meter::new(limits);
        let mut evaluator = Evaluator { activation, meter: &mut meter, locals: Vec::new(), level: 0 };
        let outcome = evaluator.evaluate(&self.plan).map_err(|error| *error);
        Evaluation { outcome, cost: meter.cost(), steps: meter.steps() }
    }
}
