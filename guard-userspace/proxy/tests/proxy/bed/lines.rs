//! What the proxy logs.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use serde_json::Value;

/// The lines that were logged.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Collects the lines of this thread, on which the whole bed of a test runs.
    pub(crate) fn collect() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn all(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn exchanges(&self) -> Vec<Value> {
        let lines = self.all();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == "exchange").collect()
    }

    /// How each exchange ended, in the order of their ends.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        self.exchanges().iter().map(|line| line["outcome"].as_str().unwrap().to_owned()).collect()
    }
}
