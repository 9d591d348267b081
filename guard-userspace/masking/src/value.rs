//! One whole value, decoded: what is to be changed in it.

use std::ops::Range;

use crate::catalogue::{self, Id};
use crate::engine::Engine;
use crate::json;
use crate::placeholder::Style;
use crate::scan::{Scan, What};
use crate::yaml;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    /// What is replaced.
    pub(crate) range: Range<usize>,
    /// By what.
    pub(crate) with: Vec<u8>,
    /// The detectors that found something there.
    pub(crate) ids: Vec<Id>,
}

/// A value with its changes made.
pub(crate) struct Replaced {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ids: Vec<Id>,
}

/// What is found in a value: by structure if it is JSON, else as text. Ordered, without overlap; empty for most values, and then
/// nothing was allocated.
pub(crate) fn edits(engine: &Engine, value: &[u8], depth: u8) -> Vec<Edit> {
    if depth < crate::scan::MAX_DEPTH
        && json::looks_like_json(value)
        && let Some(edits) = json::edits_of_value(engine, value, depth)
    {
        return edits;
    }
    if memchr::memmem::find(value, b"kind: Secret").is_some() && depth < crate::scan::MAX_DEPTH - 1 {
        let edits = yaml::edits_of_value(engine, value, depth + 1);
        if !edits.is_empty() {
            return edits;
        }
    }
    let found = Scan::of_value(engine, value, depth).run().found;
    found.into_iter().map(|found| edit(engine, value, found)).collect()
}

/// The change for one finding in `text`.
pub(crate) fn edit(engine: &Engine, text: &[u8], found: crate::scan::Found) -> Edit {
    let range = found.start..found.end;
    match found.what {
        What::Encoded { ids, with } => Edit { range, with, ids },
        What::Value(id, style) => placeholder(engine, text, range, id, style),
        What::Endless(_) => placeholder(engine, text, range, catalogue::HELD_TOO_LONG, Style::Free),
    }
}

/// A placeholder for a range of `text`.
pub(crate) fn placeholder(engine: &Engine, text: &[u8], range: Range<usize>, id: Id, style: Style) -> Edit {
    let mut with = Vec::new();
    engine.placeholder(id, &text[range.clone()], style, &mut with);
    Edit { range, with, ids: vec![id] }
}

/// Makes the changes.
pub(crate) fn apply(value: &[u8], edits: Vec<Edit>) -> Replaced {
    let mut replaced = Replaced { bytes: Vec::with_capacity(value.len()), ids: Vec::new() };
    let mut at = 0;
    for edit in edits {
        replaced.bytes.extend_from_slice(&value[at..edit.range.start]);
        replaced.bytes.extend_from_slice(&edit.with);
        replaced.ids.extend(edit.ids);
        at = edit.range.end;
    }
    replaced.bytes.extend_from_slice(&value[at..]);
    replaced
}
