//! One stream, of any format.

use crate::engine::Engine;
use crate::json::{Fault, JsonMasker};
use crate::report::Report;
use crate::text::TextMasker;
use crate::yaml::YamlMasker;

/// What a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON documents, one or many: objects, lists, Tables, watch events.
    Json,
    /// Text: logs, output of commands.
    Text,
    /// YAML: objects, lists, documents one after the other.
    Yaml,
}

/// A content type that is not understood: its bytes must not pass.
#[derive(Debug, thiserror::Error)]
#[error("content type {0:?} is not understood: ask for application/json, application/yaml or text/plain")]
pub struct UnknownFormat(String);

impl Format {
    /// The format of a content type; parameters such as `stream=watch` and `as=Table` change nothing.
    pub fn of_content_type(content_type: &str) -> Result<Self, UnknownFormat> {
        let media = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match &*media {
            "application/json"
            | "application/json-patch+json"
            | "application/merge-patch+json"
            | "application/strategic-merge-patch+json" => Ok(Self::Json),
            "text/plain" => Ok(Self::Text),
            "application/yaml" | "application/x-yaml" | "text/yaml" | "application/apply-patch+yaml" => Ok(Self::Yaml),
            _ => Err(UnknownFormat(content_type.to_owned())),
        }
    }
}

/// Masks one stream. After a fault nothing more may pass: close the stream.
#[derive(Debug)]
pub struct Masker(By);

#[derive(Debug)]
enum By {
    Json(Box<JsonMasker>),
    Text(Box<TextMasker>),
    Yaml(Box<YamlMasker>),
}

impl Masker {
    /// Begins a stream.
    pub fn new(format: Format) -> Self {
        Self(match format {
            Format::Json => By::Json(Box::new(JsonMasker::new(0))),
            Format::Text => By::Text(Box::default()),
            Format::Yaml => By::Yaml(Box::default()),
        })
    }

    /// Takes the next bytes; appends to `out` what may leave.
    pub fn push(&mut self, engine: &Engine, chunk: &[u8], out: &mut Vec<u8>, report: &mut Report) -> Result<(), Fault> {
        match &mut self.0 {
            By::Json(masker) => masker.push(engine, chunk, out, report),
            By::Yaml(masker) => masker.push(engine, chunk, out, report),
            By::Text(masker) => {
                masker.push(engine, chunk, out, report);
                Ok(())
            }
        }
    }

    /// Ends the stream: what is held leaves, judged as it is.
    pub fn finish(&mut self, engine: &Engine, out: &mut Vec<u8>, report: &mut Report) -> Result<(), Fault> {
        match &mut self.0 {
            By::Json(masker) => masker.finish(engine, out, report),
            By::Yaml(masker) => masker.finish(engine, out, report),
            By::Text(masker) => {
                masker.finish(engine, out, report);
                Ok(())
            }
        }
    }
}
