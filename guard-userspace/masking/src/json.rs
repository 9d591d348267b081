//! JSON as it comes, one document after another: lists, watch events, Tables, errors.
//!
//! No document is built. A stack of frames says where in the object the next byte stands; each string is judged when it is
//! complete, by its key, by the kind of the object around it, and by what it holds. What can't be judged yet because the object's kind
//! comes later is held.

mod frame;
mod parse;
pub(crate) mod strings;

pub(crate) use strings::looks_like_json;

use crate::engine::Engine;
use crate::held::Held;
use crate::report::Report;
use crate::value::Edit;

use frame::Frame;

/// Bytes that are held at most: a string without end, or an object whose kind doesn't come. Kubernetes' objects are smaller
/// (etcd's limit is 1.5 MiB, a Secret's 1 MiB, a third more in base64).
pub(crate) const LIMIT: usize = 3 << 20;

/// Deepest nesting.
const MAX_DEPTH: usize = 1_000;

/// Why a stream is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no JSON.
    #[error("byte {0} is where no JSON goes on: what was said to be JSON is none")]
    Syntax(u64),
    /// It is nested too deeply.
    #[error("nested more than 1000 levels deep at byte {0}")]
    Depth(u64),
    /// It ends in the middle.
    #[error("the stream ends within a value")]
    Truncated,
    /// A frame or a line is longer than what may be held.
    #[error("at byte {0} something begins that is longer than may be held")]
    TooLong(u64),
}

/// Masks JSON.
#[derive(Debug)]
pub(crate) struct JsonMasker {
    held: Held,
    /// Up to where it is parsed.
    at: usize,
    frames: Vec<Frame>,
    expect: parse::Expect,
    /// The path of the innermost frame.
    path: Vec<u8>,
    /// The key whose value comes next; decoded.
    key: Vec<u8>,
    /// Frames that hold something back.
    deferring: usize,
    /// In a string that was too long: dropped up to its end.
    swallowing: bool,
    /// The next byte of it is escaped.
    skip_escaped: bool,
    keys: strings::KeyCache,
    /// How deep in other encodings this document is.
    depth: u8,
    scratch: Vec<u8>,
    consumed: u64,
}

impl JsonMasker {
    pub(crate) fn new(depth: u8) -> Self {
        Self {
            held: Held::default(),
            at: 0,
            frames: Vec::new(),
            expect: parse::Expect::Value,
            path: Vec::new(),
            key: Vec::new(),
            deferring: 0,
            swallowing: false,
            skip_escaped: false,
            keys: strings::KeyCache::default(),
            depth,
            scratch: Vec::new(),
            consumed: 0,
        }
    }

    pub(crate) fn push(
        &mut self,
        engine: &Engine,
        chunk: &[u8],
        out: &mut Vec<u8>,
        report: &mut Report,
    ) -> Result<(), Fault> {
        // In pieces, so that memory is bounded whatever the chunk.
        for piece in chunk.chunks(LIMIT) {
            self.held.bytes.extend_from_slice(piece);
            self.advance(engine, false)?;
            self.give_out(engine, out, report);
            while self.held.bytes.len() > LIMIT {
                self.shorten(engine)?;
                self.give_out(engine, out, report);
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, engine: &Engine, out: &mut Vec<u8>, report: &mut Report) -> Result<(), Fault> {
        self.advance(engine, true)?;
        if self.swallowing
            || !self.frames.is_empty()
            || self.at < self.held.bytes.len()
            || self.expect != parse::Expect::Value
        {
            return Err(Fault::Truncated);
        }
        self.give_out(engine, out, report);
        Ok(())
    }

    fn give_out(&mut self, engine: &Engine, out: &mut Vec<u8>, report: &mut Report) {
        let held = if self.deferring == 0 { None } else { self.frames.iter().filter_map(Frame::held_from).min() };
        let upto = held.map_or(self.at, |held| held.min(self.at));
        if upto == 0 {
            return;
        }
        let left = self.held.release(engine, upto, out, report);
        self.consumed += left as u64;
        self.at -= left;
        if self.deferring > 0 {
            for frame in &mut self.frames {
                frame.moved(left);
            }
        }
    }

    /// Too much is held: what waits for its object's kind is taken for a Secret's, and a string without end is hidden.
    fn shorten(&mut self, engine: &Engine) -> Result<(), Fault> {
        if self.deferring > 0 {
            for number in 0..self.frames.len() {
                self.settle(engine, number, true);
            }
            self.deferring = 0;
            return Ok(());
        }
        self.swallow_string(engine)
    }

    fn fault_at(&self, at: usize) -> u64 {
        self.consumed + at as u64
    }
}

/// What is to be changed in a value that is a JSON document; `None` if it is none.
pub(crate) fn edits_of_value(engine: &Engine, value: &[u8], depth: u8) -> Option<Vec<Edit>> {
    let mut masker = JsonMasker::new(depth + 1);
    masker.held.bytes.extend_from_slice(value);
    masker.advance(engine, true).ok()?;
    let complete = masker.frames.is_empty() && masker.at == value.len() && masker.expect == parse::Expect::Value;
    complete.then(|| masker.held.into_edits())
}
