//! Runs of base64: text, or gzip, that was encoded. What is found in it is hidden, the rest encoded as it was.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Found, MAX_DEPTH, Need, Scan, Verdict, What};
use crate::encoded;
use crate::value;

/// Shorter runs hold nothing that could be told from a word.
pub(super) const LEAST: usize = 16;

/// Largest content of a gzip stream that is looked into; a larger one is hidden as a whole.
const MAX_UNPACKED: u64 = 16 << 20;

/// Marks of the alphabets that also join words: a run begins behind them.
pub(super) fn skip_marks(text: &[u8], start: usize) -> usize {
    start + text[start..].iter().take_while(|byte| matches!(byte, b'/' | b'-' | b'_' | b'+')).count()
}

impl Scan<'_> {
    pub(super) fn base64_run(&self, view: &[u8], last: bool, start: usize) -> Verdict {
        let end = start + view[start..].iter().take_while(|byte| encoded::is_base64(**byte)).count();
        let padding = view[end..].iter().take(2).take_while(|byte| **byte == b'=').count();
        if end + padding == view.len() && padding < 2 && !last {
            return Verdict::Open(start, Need::Delimiter);
        }
        if end - start < LEAST || self.depth >= MAX_DEPTH {
            return Verdict::No;
        }
        let run = &view[start..end];
        let decoded = encoded::decode(run);
        let replaced = if decoded.starts_with(&[0x1f, 0x8b, 8]) {
            match self.gzip(&decoded) {
                Gzip::Nothing => return Verdict::No,
                Gzip::Replaced(replaced) => replaced,
            }
        } else if encoded::is_text_throughout(&decoded) {
            let edits = value::edits(self.engine, &decoded, self.depth + 1);
            if edits.is_empty() {
                return Verdict::No;
            }
            value::apply(&decoded, edits)
        } else {
            return Verdict::No;
        };
        let mut with = Vec::new();
        encoded::encode_like(run, padding > 0 || run.len().is_multiple_of(4), &replaced.bytes, &mut with);
        Verdict::Found(Found { start, end: end + padding, what: What::Encoded { ids: replaced.ids, with } })
    }

    fn gzip(&self, packed: &[u8]) -> Gzip {
        let mut unpacked = Vec::new();
        let read = MultiGzDecoder::new(packed).take(MAX_UNPACKED + 1).read_to_end(&mut unpacked);
        if unpacked.len() as u64 > MAX_UNPACKED {
            let mut bytes = Vec::new();
            self.engine.placeholder(
                crate::catalogue::HELD_TOO_LONG,
                packed,
                crate::placeholder::Style::Free,
                &mut bytes,
            );
            return Gzip::Replaced(value::Replaced { bytes: pack(&bytes), ids: vec![crate::catalogue::HELD_TOO_LONG] });
        }
        if read.is_err() && unpacked.is_empty() {
            return Gzip::Nothing;
        }
        let edits = value::edits(self.engine, &unpacked, self.depth + 1);
        if edits.is_empty() {
            return Gzip::Nothing;
        }
        let value::Replaced { bytes, ids } = value::apply(&unpacked, edits);
        Gzip::Replaced(value::Replaced { bytes: pack(&bytes), ids })
    }
}

enum Gzip {
    Nothing,
    Replaced(value::Replaced),
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes what is written")
}
