//! Text as it comes: logs, output of commands, anything without a structure that is known.

use crate::catalogue;
use crate::engine::Engine;
use crate::held::Held;
use crate::placeholder::Style;
use crate::report::Report;
use crate::scan::{Found, Need, Scan, What};
use crate::value::{self, Edit};

/// Bytes that a candidate is held for at most; what goes on longer is hidden up to its end.
pub(crate) const LIMIT: usize = 64 << 10;

/// Bytes before a finding that verdicts may look at, kept after they have left. Triggers in its first half lack context themselves.
const CONTEXT: usize = 1024;

/// Masks text.
#[derive(Debug, Default)]
pub(crate) struct TextMasker {
    held: Held,
    /// What has left already, of `held.bytes`.
    context: usize,
    /// Whether something was before `held.bytes`.
    cut: bool,
    /// What the first open candidate waits for, and how much was there when it was looked at.
    waiting: Option<(Need, usize)>,
    /// The rest of something too long is dropped up to here.
    swallowing: Option<Need>,
}

impl TextMasker {
    pub(crate) fn push(&mut self, engine: &Engine, chunk: &[u8], out: &mut Vec<u8>, report: &mut Report) {
        // In pieces, so that memory is bounded whatever the chunk.
        for piece in chunk.chunks(LIMIT) {
            self.held.bytes.extend_from_slice(piece);
            if !self.still_waiting() {
                self.advance(engine, false, out, report);
            }
        }
    }

    pub(crate) fn finish(&mut self, engine: &Engine, out: &mut Vec<u8>, report: &mut Report) {
        self.advance(engine, true, out, report);
        *self = Self::default();
    }

    /// Whether nothing came that could decide; otherwise one byte at a time would cost the square of what is held.
    fn still_waiting(&self) -> bool {
        let Some((need, seen)) = self.waiting else { return false };
        let bytes = &self.held.bytes;
        if bytes.len() - self.context > LIMIT {
            return false;
        }
        let new = &bytes[seen..];
        let decisive = |byte: &u8| byte.is_ascii_control() || matches!(byte, b' ' | b'"' | b'\'');
        match need {
            Need::Line => !new.contains(&b'\n'),
            Need::Text(text) => memchr::memmem::find(&bytes[seen.saturating_sub(text.len())..], text).is_none(),
            Need::Delimiter => {
                let delimited = new.iter().any(|byte| !byte.is_ascii_alphanumeric());
                let enough = new.len() * 16 >= seen - self.context;
                !(new.iter().any(decisive) || delimited && enough || seen - self.context < 64)
            }
        }
    }

    fn advance(&mut self, engine: &Engine, last: bool, out: &mut Vec<u8>, report: &mut Report) {
        self.waiting = None;
        loop {
            if let Some(need) = self.swallowing
                && !self.swallow(need, last)
            {
                return;
            }
            let floor = if self.cut { CONTEXT / 2 } else { 0 };
            let scan = Scan {
                engine,
                text: &self.held.bytes,
                from: self.context,
                floor: floor.min(self.context),
                last,
                whole: false,
                limit: LIMIT,
                depth: 0,
            };
            let outcome = scan.run();
            let bound = outcome.open.map_or(self.held.bytes.len(), |(start, _)| start);
            let mut reached = bound.max(self.context);
            let mut endless = None;
            for found in outcome.found {
                if found.start >= bound.max(self.context) {
                    break;
                }
                if let Some(need) = too_long(&found) {
                    let end = found.start + LIMIT.min(found.end - found.start);
                    let edit = value::placeholder(
                        engine,
                        &self.held.bytes,
                        found.start..end,
                        catalogue::HELD_TOO_LONG,
                        Style::Free,
                    );
                    self.held.change(edit, None);
                    endless = Some(need);
                    reached = end;
                    break;
                }
                reached = reached.max(found.end);
                let edit: Edit = value::edit(engine, &self.held.bytes, found);
                self.held.change(edit, None);
            }
            self.release(engine, reached, out, report);
            self.swallowing = endless;
            if endless.is_none() {
                if let Some((_, need)) = outcome.open.filter(|(start, _)| *start >= reached) {
                    self.waiting = Some((need, self.held.bytes.len()));
                }
                // What was found may have covered an open candidate; what is behind it is looked at anew.
                if reached <= bound || self.context >= self.held.bytes.len() {
                    return;
                }
            }
        }
    }

    /// Gives out all before `upto`, keeping what later verdicts look back at.
    fn release(&mut self, engine: &Engine, upto: usize, out: &mut Vec<u8>, report: &mut Report) {
        let kept = upto.min(CONTEXT);
        let context = self.held.bytes[upto - kept..upto].to_vec();
        self.cut |= upto > CONTEXT;
        self.held.leave(engine, self.context, upto, out, report);
        self.held.put_back(&context);
        self.context = kept;
    }

    /// Drops what belongs to something too long. Whether its end was found.
    fn swallow(&mut self, need: Need, last: bool) -> bool {
        let rest = &self.held.bytes[self.context..];
        let end = match need {
            Need::Delimiter => rest.iter().position(|byte| *byte <= b' '),
            Need::Line => memchr::memchr(b'\n', rest),
            Need::Text(text) => memchr::memmem::find(rest, text).map(|at| at + text.len()),
        };
        let keep = match need {
            Need::Text(text) if !last => rest.len().min(text.len() - 1),
            _ => 0,
        };
        let drop = end.unwrap_or(rest.len() - keep);
        let context = self.held.bytes[..self.context].to_vec();
        self.held.forget(self.context + drop);
        self.held.put_back(&context);
        if end.is_some() {
            self.swallowing = None;
        }
        end.is_some()
    }
}

fn too_long(found: &Found) -> Option<Need> {
    match found.what {
        What::Endless(need) => Some(need),
        _ => None,
    }
}
