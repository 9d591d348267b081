//! What must hold for an expression, whatever its text.

use guard_cel::{Activation, Environment, Limits, Type};

/// `input` is the source.
pub(crate) fn check(input: &[u8]) {
    let Ok(source) = std::str::from_utf8(input) else { return };
    let object = serde_json::json!({"a": [1, 2.5, "x", null, {"b": true}], "größe": {"c": [[1], []]}});
    let mut environment = Environment::new();
    let variable = environment.declare("object", Type::Dyn);
    let program = match environment.compile(source) {
        Ok(program) => program,
        Err(error) => {
            let lines = source.matches('\n').count() + 1;
            assert!(
                error.line >= 1 && error.line <= lines && error.column >= 1 && !error.reason.is_empty(),
                "{error:?}"
            );
            return;
        }
    };
    let mut activation = Activation::new();
    activation.bind(variable, &object);
    let once = program.evaluate(&activation, Limits::PER_EXPRESSION);
    let twice = program.evaluate(&activation, Limits::PER_EXPRESSION);
    let canonical = |outcome: Result<guard_cel::Value<'_>, guard_cel::EvaluationError>| match outcome {
        Ok(value) => value.canonical(),
        Err(error) => format!("error: {error}"),
    };
    assert_eq!((once.cost, once.steps), (twice.cost, twice.steps));
    assert_eq!(canonical(once.outcome), canonical(twice.outcome));
    // Less to spend never makes something else of it.
    let less = Limits { steps: once.steps / 2, ..Limits::PER_EXPRESSION };
    assert!(once.steps < 2 || program.evaluate(&activation, less).outcome.is_err());
}
