//! Expressions and values made to use up time, memory or the stack end in an error, within the limits.

use guard_cel::{Activation, Environment, Evaluation, EvaluationError, Limits, Type, Value};

/// A small stack: what fits here fits any thread.
const STACK: usize = 1024 * 1024;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(test);
    thread.expect("a thread starts").join().expect("the test passes");
}

fn evaluate(source: &str) -> Result<u64, EvaluationError> {
    let numbers: Vec<u32> = (0..200).collect();
    let list = serde_json::json!(numbers);
    let mut environment = Environment::new();
    let variable = environment.declare("l", Type::Dyn);
    let program = environment.compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut activation = Activation::new();
    activation.bind(variable, &list);
    let Evaluation { outcome, cost, steps } = program.evaluate(&activation, Limits::PER_EXPRESSION);
    assert!(cost <= Limits::PER_EXPRESSION.cost + 1_000_000, "{source}: {cost}");
    assert!(steps <= Limits::PER_EXPRESSION.steps + 1_000_000, "{source}: {steps}");
    outcome.map(|_| steps)
}

fn is_a_limit(error: &EvaluationError) -> bool {
    !matches!(error, EvaluationError::Failed(_))
}

#[test]
fn nested_macros_end_at_a_limit() {
    on_a_small_stack(|| {
        for source in [
            "l.map(a, l.map(b, l.map(c, l)))",
            "l.map(a, l.map(b, l.map(c, l.map(d, 1))))",
            "l.all(a, l.all(b, l.all(c, a + b + c >= 0)))",
            "l.exists(a, l.exists(b, l.exists(c, l.exists(d, a + b + c + d < 0))))",
            "l.transformMap(a, x, l.transformMap(b, y, l))",
            "l.map(a, l).flatten().map(b, l).flatten()",
            "l.sortBy(a, l.map(b, l.map(c, c)).size())",
            "lists.range(1000000000)",
            "lists.range(9223372036854775807)",
            "lists.range(3000).map(x, lists.range(3000))",
        ] {
            let error = evaluate(source).expect_err(source);
            assert!(is_a_limit(&error), "{source}: {error}");
        }
    });
}

#[test]
fn growing_strings_and_lists_end_at_a_limit() {
    on_a_small_stack(|| {
        let double = |levels: usize, start: &str, sum: &str| {
            let open: String = (0..levels)
                .map(|level| format!("cel.bind(x{}, {sum}, ", level + 1).replace('?', &level.to_string()))
                .collect();
            format!("cel.bind(x0, {start}, {open}x{levels}{})", ")".repeat(levels))
        };
        for source in [
            double(30, "'0123456789'", "x? + x?"),
            double(30, "[1]", "x? + x?"),
            double(30, "b'0123456789'", "x? + x?"),
            double(10, "'aaaaaaaaaa'", "x?.replace('a', 'aaaaaaaaaa')"),
            double(20, "'%s'", "(x? + x?).format([x?, x?, x?, x?])"),
            double(12, "['aaaaaaaaaa']", "[x?.join('a'), x?.join('a'), x?.join('a'), x?.join('a'), x?.join('a')]"),
        ] {
            match evaluate(&source) {
                Err(error) => assert!(is_a_limit(&error) || source.contains("format"), "{source}: {error}"),
                Ok(steps) => assert!(steps < Limits::PER_EXPRESSION.steps, "{source}"),
            }
        }
    });
}

#[test]
fn regular_expressions_stay_within_bounds() {
    on_a_small_stack(|| {
        for source in [
            "l.all(x, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.matches('(a*)*b' + string(x)) == false)",
            "l.all(x, 'a'.matches(string(x) + '(\\\\pL{20}){10}') == false)",
            "cel.bind(p, lists.range(500).map(x, 'a?').join() + lists.range(500).map(x, 'a').join(), l.all(x, 'aaaa'.matches(p) == false))",
        ] {
            let outcome = evaluate(source);
            assert!(outcome.is_err(), "{source}");
        }
        let mut environment = Environment::new();
        environment.declare("s", Type::String);
        for pattern in [
            "(\\\\w{1000}){1000}",
            "((a{100}){100}){100}",
            "(((((((((((((((((((((((((((((((((((((((((((((((((((((((a)))))))))))))))))))))))))))))))))))))))))))))))))))))))",
        ] {
            assert!(environment.compile(&format!("s.matches('{pattern}')")).is_err(), "{pattern}");
        }
    });
}

#[test]
fn macros_that_copy_and_types_that_grow_end_when_compiled() {
    on_a_small_stack(|| {
        let environment = Environment::new();
        let copies = format!("optional.of(1){}", ".optMap(x, x)".repeat(60));
        assert!(environment.compile(&copies).is_err());
        let levels = 25;
        let open: Vec<String> =
            (0..levels).map(|level| format!("cel.bind(x{}, {{x{level}: x{level}}}, ", level + 1)).collect();
        let open = open.concat();
        let types = format!("cel.bind(x0, 1, {open}1{})", ")".repeat(levels));
        assert!(environment.compile(&types).is_err());
    });
}

#[test]
fn deep_values_are_no_danger() {
    on_a_small_stack(|| {
        let mut deep = serde_json::json!(1);
        for _ in 0..5_000 {
            deep = serde_json::Value::Array(vec![deep]);
        }
        let mut environment = Environment::new();
        let variable = environment.declare("deep", Type::Dyn);
        for source in [
            "deep == deep",
            "deep.flatten(100000)",
            "[deep].max()",
            "'%s'.format([deep])",
            "deep in [deep, deep]",
            "[deep].indexOf(deep)",
        ] {
            let program = environment.compile(source).unwrap();
            let mut activation = Activation::new();
            activation.bind(variable, &deep);
            let outcome = program.evaluate(&activation, Limits::PER_EXPRESSION).outcome;
            assert!(outcome.is_err() || !source.contains("=="), "{source}");
        }
        assert!(Value::from(&deep).canonical().contains('…'));
        // Dropping it is the test's own affair, and recursive.
        std::mem::forget(deep);
    });
}

#[test]
fn variables_that_use_variables_end_at_a_depth() {
    on_a_small_stack(|| {
        let mut environment = Environment::new();
        let mut variables = vec![environment.declare("v0", Type::Dyn)];
        let mut programs = vec![environment.compile("1").unwrap()];
        for index in 1..400 {
            programs.push(environment.compile(&format!("(((v{} + 0) + 0) + 0)", index - 1)).unwrap());
            variables.push(environment.declare(&format!("v{index}"), Type::Dyn));
        }
        let mut activation = Activation::new();
        for (variable, program) in variables.iter().zip(&programs) {
            activation.bind_program(*variable, program);
        }
        let last = environment.compile("v399").unwrap();
        let error = last.evaluate(&activation, Limits::PER_EXPRESSION).outcome.unwrap_err();
        assert!(matches!(error, EvaluationError::Depth { .. }), "{error}");
        let early = environment.compile("v20").unwrap();
        assert!(matches!(early.evaluate(&activation, Limits::PER_EXPRESSION).outcome, Ok(Value::Int(1))));
    });
}

#[test]
fn a_limit_is_no_error_that_an_or_absorbs() {
    let limits = Limits { cost: 50, ..Limits::PER_EXPRESSION };
    let program = Environment::new().compile("lists.range(100).all(x, x >= 0) || true").unwrap();
    let error = program.evaluate(&Activation::new(), limits).outcome.unwrap_err();
    assert_eq!(error, EvaluationError::Cost { limit: 50 });
}
