//! Evaluates expressions for `tests/go/oracle/cel`: a JSON string a line in, an object a line out, with `value`, `compile` or `error`, and
//! `cost`. The argument is a JSON file, the variable `object`. With `--bench EXPRESSION` it prints how long one evaluation takes, in
//! nanoseconds.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use guard_cel::{Activation, Environment, Limits, Type, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("the JSON file of `object` is missing")?;
    let object: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let names = serde_json::json!(["web", "db", "cache"]);
    let labels = serde_json::json!({"app": "web", "tier": "front"});

    let mut environment = Environment::new();
    let mut activation = Activation::new();
    activation
        .bind(environment.declare("object", Type::Dyn), &object)
        .bind(environment.declare("oldObject", Type::Dyn), Value::Null)
        .bind(environment.declare("names", Type::list(Type::String)), &names)
        .bind(environment.declare("labels", Type::map(Type::String, Type::String)), &labels)
        .bind(environment.declare("count", Type::Int), Value::Int(3));
    if arguments.next().as_deref() == Some("--bench") {
        let expression = arguments.next().ok_or("no expression to time")?;
        println!("{:.0}", nanoseconds(&environment, &activation, &expression)?);
        return Ok(());
    }

    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let expression: String = serde_json::from_str(&line?)?;
        let answer = match environment.compile(&expression) {
            Err(error) => serde_json::json!({"compile": error.reason}),
            Ok(program) => {
                let evaluation = program.evaluate(&activation, Limits::PER_EXPRESSION);
                match evaluation.outcome {
                    Ok(value) => serde_json::json!({"value": value.canonical(), "cost": evaluation.cost}),
                    Err(error) => serde_json::json!({"error": error.to_string(), "cost": evaluation.cost}),
                }
            }
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

/// The best of several rounds.
fn nanoseconds(
    environment: &Environment,
    activation: &Activation<'_>,
    expression: &str,
) -> Result<f64, Box<dyn Error>> {
    const EVALUATIONS: u32 = 2000;
    let program = environment.compile(expression)?;
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let begin = Instant::now();
        for _ in 0..EVALUATIONS {
            program.evaluate(activation, Limits::PER_EXPRESSION).outcome?;
        }
        best = best.min(begin.elapsed().as_secs_f64() * 1e9 / f64::from(EVALUATIONS));
    }
    Ok(best)
}
