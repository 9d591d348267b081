//! What operators see: metrics, health and logs.
//!
//! Nothing here carries a pod's name as a label: an agent must not be able to grow a time series, so every label has a
//! bounded set of values. Who did what is in the log line of each exchange.

#![forbid(unsafe_code)]

mod labels;
mod logging;
mod metrics;
mod server;
mod tally;

pub use labels::{code_label, verb_label};
pub use logging::{LoggingError, init_logging};
pub use metrics::{Metrics, MetricsError, version};
pub use server::{Readiness, ServeError, serve, serve_socket};
pub use tally::{Decided, Tally, init_tally};
