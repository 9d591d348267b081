//! Policies in YAML, and the line and column of what is wrong in them.

use guard_api::GuardPolicy;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::options::AliasLimits;
use serde_saphyr::{Location, Options, Spanned};

use crate::compile::{CompileError, foreign};
use crate::error::PolicyError;

/// Longest file, in bytes.
const MAX_LEN: usize = 1 << 20;
/// Deepest nesting. A policy has six levels.
const MAX_DEPTH: usize = 32;
const MAX_DOCUMENTS: usize = 1_000;
const MAX_NODES: usize = 100_000;
/// Most nodes that aliases may repeat, all together: a few lines of aliases of aliases stand for billions.
const MAX_REPEATED: usize = 10_000;

/// What a document says that it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    api_version: String,
    kind: Spanned<String>,
}

/// The places of the rules, read only when there is an error to place.
#[derive(Deserialize)]
struct Places {
    metadata: Spanned<IgnoredAny>,
    spec: SpecPlaces,
}

#[derive(Deserialize)]
struct SpecPlaces {
    #[serde(default)]
    rules: Vec<Spanned<IgnoredAny>>,
}

pub(crate) fn parse(text: &str, file_name: &str) -> Result<Vec<GuardPolicy>, PolicyError> {
    let error = |location: Option<Location>, reason: String| PolicyError {
        file: Some(file_name.to_owned()),
        line: location.and_then(line),
        column: location.and_then(column),
        reason,
        ..PolicyError::default()
    };
    if text.len() > MAX_LEN {
        return Err(error(None, format!("the file has {} bytes, more than {MAX_LEN}; split it", text.len())));
    }
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|wrong| match foreign_kind(text) {
        Some((location, reason)) => error(Some(location), reason),
        None => error(wrong.location(), wrong.without_snippet().to_string()),
    })
}

/// The first document that is something else. That says more than which of its fields a policy doesn't have.
fn foreign_kind(text: &str) -> Option<(Location, String)> {
    let documents: Vec<Kind> = serde_saphyr::from_multiple_with_options(text, options()).ok()?;
    documents
        .into_iter()
        .find_map(|document| Some((document.kind.referenced, foreign(&document.api_version, &document.kind.value)?)))
}

/// Adds file, line and column to an error that was found after reading.
pub(crate) fn locate(text: &str, file_name: &str, compile_error: CompileError) -> PolicyError {
    let CompileError { policy, rule, mut error } = compile_error;
    error.file = Some(file_name.to_owned());
    let places: Vec<Places> = serde_saphyr::from_multiple_with_options(text, options()).unwrap_or_default();
    let location = places.get(policy).and_then(|places| match rule {
        Some(rule) => places.spec.rules.get(rule).map(|rule| rule.referenced),
        None => Some(places.metadata.referenced),
    });
    error.line = location.and_then(line);
    error.column = location.and_then(column);
    *error
}

fn line(location: Location) -> Option<u32> {
    u32::try_from(location.line()).ok()
}

fn column(location: Location) -> Option<u32> {
    u32::try_from(location.column()).ok()
}

fn options() -> Options {
    let mut alias_limits = AliasLimits::default();
    alias_limits.max_total_replayed_events = MAX_REPEATED;
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: MAX_DOCUMENTS,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_total_scalar_bytes: MAX_LEN,
        },
        alias_limits: alias_limits,
        with_snippet: false,
        strict_booleans: true,
    }
}
