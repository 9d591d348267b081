//! YAML as Kubernetes' tools write it: block mappings and sequences, scalars in every style.
//!
//! A *statement* is a key with its scalar, or an element of a sequence: one line and those that are indented deeper, if it has a value of
//! its own. It is judged when the next one begins. What YAML could also say and these tools don't (anchors that carry Secrets, keys
//! over several lines) is read as text.

mod level;
mod statement;

use crate::engine::Engine;
use crate::held::Held;
use crate::json::{Fault, JsonMasker, LIMIT};
use crate::report::Report;
use crate::value::Edit;

use level::Level;

/// Masks YAML.
#[derive(Debug, Default)]
pub(crate) struct YamlMasker {
    held: Held,
    /// Up to where statements are judged.
    at: usize,
    levels: Vec<Level>,
    /// The document began with a brace: it is JSON, which is YAML too.
    json: Option<Box<JsonMasker>>,
    begun: bool,
    /// How deep in other encodings this document is.
    depth: u8,
    consumed: u64,
}

impl YamlMasker {
    pub(crate) fn push(
        &mut self,
        engine: &Engine,
        chunk: &[u8],
        out: &mut Vec<u8>,
        report: &mut Report,
    ) -> Result<(), Fault> {
        for piece in chunk.chunks(LIMIT) {
            self.held.bytes.extend_from_slice(piece);
            self.go_on(engine, false, out, report)?;
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, engine: &Engine, out: &mut Vec<u8>, report: &mut Report) -> Result<(), Fault> {
        self.go_on(engine, true, out, report)?;
        if let Some(json) = &mut self.json {
            return json.finish(engine, out, report);
        }
        self.give_out(engine, out, report);
        Ok(())
    }

    fn go_on(&mut self, engine: &Engine, last: bool, out: &mut Vec<u8>, report: &mut Report) -> Result<(), Fault> {
        if !self.begun
            && let Some(first) = self.held.bytes.iter().find(|byte| !byte.is_ascii_whitespace())
        {
            self.begun = true;
            self.json = matches!(first, b'{' | b'[').then(|| Box::new(JsonMasker::new(0)));
        }
        if let Some(json) = &mut self.json {
            let bytes = std::mem::take(&mut self.held.bytes);
            return json.push(engine, &bytes, out, report);
        }
        self.statements(engine, last);
        self.give_out(engine, out, report);
        if self.held.bytes.len() > LIMIT {
            if self.levels.iter().all(|level| level.held_from().is_none()) {
                return Err(Fault::TooLong(self.consumed + self.at as u64));
            }
            for number in 0..self.levels.len() {
                self.settle(engine, number, true);
            }
            self.give_out(engine, out, report);
        }
        Ok(())
    }

    fn give_out(&mut self, engine: &Engine, out: &mut Vec<u8>, report: &mut Report) {
        let held = self.levels.iter().filter_map(Level::held_from).min();
        let upto = held.map_or(self.at, |held| held.min(self.at));
        if upto > 0 {
            let left = self.held.release(engine, upto, out, report);
            self.consumed += left as u64;
            self.at -= left;
            for level in &mut self.levels {
                level.moved(left);
            }
        }
    }

    /// Judges every statement that is complete.
    fn statements(&mut self, engine: &Engine, last: bool) {
        while let Some(end) = self.statement_end(last) {
            let range = self.at..end;
            self.take(engine, range);
            self.at = end;
        }
        if last {
            while !self.levels.is_empty() {
                self.settle(engine, self.levels.len() - 1, false);
                self.levels.pop();
            }
        }
    }

    /// Where the statement at `self.at` ends; `None` while more may belong to it, or nothing is left.
    fn statement_end(&self, last: bool) -> Option<usize> {
        let rest = &self.held.bytes[self.at..];
        let Some(line) = memchr::memchr(b'\n', rest).map(|end| end + 1) else {
            return (last && !rest.is_empty()).then_some(self.held.bytes.len());
        };
        let Some(indent) = statement::continued_beyond(&rest[..line]) else { return Some(self.at + line) };
        let mut end = line;
        loop {
            let next = &rest[end..];
            let blanks = next.iter().take_while(|byte| **byte == b' ').count();
            match next.get(blanks) {
                None if last => return Some(self.at + end + blanks),
                None => return None,
                // Blank lines belong to what they are in.
                Some(b'\n' | b'\r') => {}
                Some(_) if blanks > indent => {}
                Some(_) => return Some(self.at + end),
            }
            match memchr::memchr(b'\n', next) {
                Some(line) => end += line + 1,
                None if last => return Some(self.held.bytes.len()),
                None => return None,
            }
        }
    }
}

/// What is to be changed in a value that is a YAML manifest.
pub(crate) fn edits_of_value(engine: &Engine, value: &[u8], depth: u8) -> Vec<Edit> {
    let mut masker = YamlMasker { depth, ..YamlMasker::default() };
    masker.held.bytes.extend_from_slice(value);
    masker.statements(engine, true);
    masker.held.into_edits()
}
