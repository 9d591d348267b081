//! Where log lines go, standard error, as text for people or as JSON for collectors; and which of them, which may change at run time.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// The variable that selects what is logged, in `tracing`'s filter syntax.
const FILTER_VARIABLE: &str = "GUARD_LOG";
/// The variable that names a file with such a filter. What is in the file counts, as it changes; where it is missing or empty, the variable above.
const FILE_VARIABLE: &str = "GUARD_LOG_FILE";
/// Where neither is set. kube's client logs each failed connection as an error without its cause; who asked for it says both.
const FILTER: &str = "info,kube_client::client::builder=off";
/// Between two looks at the file. The kubelet carries a change of a `ConfigMap` in a minute.
const LOOK: Duration = Duration::from_secs(10);

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
    /// The file is there and can't be followed.
    #[error("the log's filter can't be followed in {file}: {source}")]
    Follow {
        /// The file's name.
        file: PathBuf,
        /// Why no thread could be started.
        source: std::io::Error,
    },
    /// Somebody set a subscriber before.
    #[error("logging is set up already in this process: call init_logging once")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets the process's logging up, once. `json` writes one JSON object a line, with the event's fields at its top level.
///
/// With `GUARD_LOG_FILE` the filter in that file is followed from then on. A file that makes no sense changes nothing and is told in the log.
///
/// # Errors
/// A filter in `GUARD_LOG` that does not parse; a second call.
pub fn init_logging(json: bool) -> Result<(), LoggingError> {
    let variable = std::env::var(FILTER_VARIABLE).ok();
    let (filter, handle) = reload::Layer::new(filter(variable.clone())?);
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()?;
    } else {
        let colour = std::io::stderr().is_terminal();
        registry.with(fmt::layer().with_ansi(colour).with_writer(std::io::stderr)).try_init()?;
    }
    let Some(file) = std::env::var_os(FILE_VARIABLE).map(PathBuf::from) else { return Ok(()) };
    let mut followed = Followed { file: file.clone(), variable, handle, last: None };
    followed.look();
    let follow = move || loop {
        thread::sleep(LOOK);
        followed.look();
    };
    let thread = thread::Builder::new().name("log-filter".to_owned()).spawn(follow);
    thread.map(drop).map_err(|source| LoggingError::Follow { file, source })
}

/// A filter in a file.
struct Followed {
    file: PathBuf,
    /// What counts where the file says nothing.
    variable: Option<String>,
    handle: reload::Handle<EnvFilter, Registry>,
    /// What the file said at the last look.
    last: Option<String>,
}

impl Followed {
    /// Does what the file says, if it says something else than at the last look.
    fn look(&mut self) {
        let said =
            fs::read_to_string(&self.file).ok().map(|text| text.trim().to_owned()).filter(|said| !said.is_empty());
        if said == self.last {
            return;
        }
        self.last.clone_from(&said);
        match filter(said.or_else(|| self.variable.clone())) {
            Ok(filter) => {
                // It fails only where the subscriber is gone: at the process's end.
                let _ = self.handle.reload(filter);
                tracing::info!(file = %self.file.display(), filter = self.last, "the log's filter is as the file says");
            }
            Err(error) => {
                tracing::error!(file = %self.file.display(), %error, "the log's filter stays as it was: the file holds none");
            }
        }
    }
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

    #[test]
    fn a_file_changes_the_filter_and_nonsense_in_it_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (layer, handle) = reload::Layer::new(filter(None).unwrap());
        let subscriber = tracing_subscriber::registry().with(layer);
        let mut followed = Followed {
            file: file.path().to_owned(),
            variable: Some("warn".to_owned()),
            handle: handle.clone(),
            last: None,
        };
        let mut says = |text: &str| {
            fs::write(file.path(), text).unwrap();
            followed.look();
            handle.with_current(ToString::to_string).unwrap()
        };
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(says("debug\n"), "debug");
            assert_eq!(says("guard=loudly=now"), "debug");
            assert_eq!(says("guard_proxy=trace,info"), "guard_proxy=trace,info");
            assert_eq!(says(""), "warn");
        });
    }
}
