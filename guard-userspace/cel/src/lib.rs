//! Kubernetes' expression language: CEL, with the functions and the account of cost that the API server has, for expressions and values
//! that nobody vouches for.
//!
//! # Use
//! Expressions are compiled once, when a policy is loaded, in an [`Environment`] that declares their variables. An [`Activation`] gives
//! the variables values, borrowed from the request's JSON; it serves all expressions of that request. A variable may be an expression
//! itself: it is evaluated when one first uses it, and then kept.
//!
//! ```
//! use guard_cel::{Activation, Environment, Limits, Type, Value};
//!
//! let mut environment = Environment::new();
//! let object = environment.declare("object", Type::Dyn);
//! let containers = environment.compile("object.spec.containers")?;
//! let variable = environment.declare("variables.containers", containers.result_type().clone());
//! let privileged = environment.compile_as(
//!     "variables.containers.exists(c, c.?securityContext.?privileged.orValue(false))",
//!     &Type::Bool,
//! )?;
//!
//! let pod = serde_json::json!({"spec": {"containers": [{"name": "web", "securityContext": {"privileged": true}}]}});
//! let mut activation = Activation::new();
//! activation.bind(object, &pod).bind_program(variable, &containers);
//! let evaluation = privileged.evaluate(&activation, Limits::PER_EXPRESSION);
//! assert!(matches!(evaluation.outcome, Ok(Value::Bool(true))));
//! # Ok::<(), guard_cel::CompileError>(())
//! ```
//!
//! # What it promises
//! - No expression and no value makes it panic, overflow the stack, or use more than its [`Limits`]: the syntax tree's size and depth are
//!   bounded by the parser, the checker's work is counted, and so is each step of an evaluation, before it is taken.
//! - It says what the API server says: `tests/go/oracle/cel` asks both, for results, errors and costs. Where they differ on purpose,
//!   `tests/differences.txt` says why.
//!
//! # Beyond the API server
//! `cel.bind(name, value, expression)`. Without: the authorizer, and message types such as `google.protobuf.Int32Value{…}`.
#![forbid(unsafe_code)]
#![expect(
    clippy::unnecessary_box_returns,
    reason = "an outcome is as large as its error, and errors are rare: they are boxed throughout"
)]

mod activation;
mod ast;
mod check;
mod environment;
mod error;
mod evaluate;
mod library;
pub mod limits;
mod meter;
mod parser;
mod plan;
mod program;
mod types;
mod value;

pub use activation::Activation;
pub use environment::{Environment, Variable};
pub use error::{CompileError, EvaluationError};
pub use library::{Cidr, Format, Quantity, Semver, Url};
pub use limits::Limits;
pub use program::{Evaluation, Program};
pub use types::Type;
pub use value::{Entries, List, Map, Text, Timestamp, Value};
