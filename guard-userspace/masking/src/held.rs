//! Bytes that have come and not yet left, and the changes in them.

use crate::engine::Engine;
use crate::report::{Finding, Report};
use crate::value::Edit;

/// A change with the field that it is in.
#[derive(Debug)]
struct Placed {
    edit: Edit,
    path: Option<String>,
}

/// The tail of a stream. Offsets are into `bytes`.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the stream before these.
    base: u64,
    edits: Vec<Placed>,
}

impl Held {
    pub(crate) fn change(&mut self, edit: Edit, path: Option<String>) {
        self.edits.push(Placed { edit, path });
    }

    /// All changes, ordered, without overlap.
    pub(crate) fn into_edits(mut self) -> Vec<Edit> {
        self.order();
        self.edits.into_iter().map(|placed| placed.edit).collect()
    }

    fn order(&mut self) {
        if self.edits.len() < 2 {
            return;
        }
        self.edits
            .sort_by(|a, b| a.edit.range.start.cmp(&b.edit.range.start).then(b.edit.range.end.cmp(&a.edit.range.end)));
        let mut end = 0;
        self.edits.retain(|placed| {
            let kept = placed.edit.range.start >= end;
            end = end.max(placed.edit.range.end);
            kept
        });
    }

    /// Lets go what is before `upto`, changed. A change that begins before it is made whole; returns how much left.
    pub(crate) fn release(&mut self, engine: &Engine, upto: usize, out: &mut Vec<u8>, report: &mut Report) -> usize {
        self.order();
        let ready = self.edits.iter().take_while(|placed| placed.edit.range.start < upto).count();
        let mut at = 0;
        for Placed { edit, path } in self.edits.drain(..ready) {
            out.extend_from_slice(&self.bytes[at..edit.range.start]);
            out.extend_from_slice(&edit.with);
            at = edit.range.end;
            let range = self.base + edit.range.start as u64..self.base + edit.range.end as u64;
            for id in edit.ids {
                report.add(|| Finding {
                    detector: engine.name(id).to_owned(),
                    range: range.clone(),
                    path: path.clone(),
                });
            }
        }
        let left = upto.max(at);
        out.extend_from_slice(&self.bytes[at..left]);
        self.forget(left);
        left
    }

    /// As [`Self::release`], but what is before `from` has left already.
    pub(crate) fn leave(&mut self, engine: &Engine, from: usize, upto: usize, out: &mut Vec<u8>, report: &mut Report) {
        self.forget(from);
        self.release(engine, upto - from, out, report);
    }

    /// Puts bytes that have left before the others again, to be looked back at.
    pub(crate) fn put_back(&mut self, context: &[u8]) {
        self.base -= context.len() as u64;
        self.bytes.splice(..0, context.iter().copied());
        for placed in &mut self.edits {
            placed.edit.range = placed.edit.range.start + context.len()..placed.edit.range.end + context.len();
        }
    }

    /// Drops bytes from the beginning without giving them out.
    pub(crate) fn forget(&mut self, count: usize) {
        self.base += count as u64;
        self.bytes.drain(..count);
        for placed in &mut self.edits {
            placed.edit.range = placed.edit.range.start - count..placed.edit.range.end - count;
        }
    }
}
