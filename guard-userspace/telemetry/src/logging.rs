//! Where log lines go: standard error, as text for people or as JSON for collectors.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The variable that selects what is logged, in `tracing`'s filter syntax.
const FILTER_VARIABLE: &str = "GUARD_LOG";
/// Where it is not set. kube's client logs each failed connection as an error without its cause; who asked for it says both.
const FILTER: &str = "info,kube_client::client::builder=off";

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error("{FILTER_VARIABLE}={value:?} is no filter: {source}; write it like info or guard_proxy=debug,info")]
    Filter {
        /// The variable's value.
        value: String,
        /// What the parser says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody set a subscriber before.
    #[error("logging is set up already in this process: call init_logging once")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets the process's logging up, once. `json` writes one JSON object a line, with the event's fields at its top level.
///
/// # Errors
/// A filter in `GUARD_LOG` that does not parse; a second call.
pub fn init_logging(json: bool) -> Result<(), LoggingError> {
    let filter = filter(std::env::var(FILTER_VARIABLE).ok())?;
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()?;
    } else {
        let colour = std::io::stderr().is_terminal();
        registry.with(fmt::layer().with_ansi(colour).with_writer(std::io::stderr)).try_init()?;
    }
    Ok(())
}

pub(crate) fn filter(value: Option<String>) -> Result<EnvFilter, LoggingError> {
    let value = value.filter(|value| !value.is_empty()).unwrap_or_else(|| FILTER.to_owned());
    EnvFilter::builder().parse(&value).map_err(|source| LoggingError::Filter { value, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_names_itself() {
        assert!(filter(None).is_ok());
        assert!(filter(Some("guard_proxy=debug,info".to_owned())).is_ok());
        let error = filter(Some("guard=loudly=now".to_owned())).unwrap_err();
        assert!(error.to_string().contains("loudly"), "{error}");
    }
}
