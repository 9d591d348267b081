//! Chunks (RFC 9112, 7.1), passed over byte by byte.

use crate::Malformed;
use crate::fields::{Field, without_ending};

/// Hexadecimal digits of a chunk's size at most: 60 bits.
const SIZE_DIGITS: usize = 15;
/// Bytes of all trailers at most. Kubernetes' clients send none.
const TRAILER_BYTES: usize = 4 << 10;

/// Where in a chunked body a connection is.
#[derive(Debug)]
pub(crate) enum Chunks {
    /// In a chunk's size, so many digits of it read.
    Size { size: u64, digits: usize },
    /// Behind the CR of a size.
    SizeEnd { size: u64 },
    /// In a chunk's data, so many bytes of it to come.
    Data { left: u64 },
    /// Behind a chunk's data: CR, then LF.
    DataEnd { cr: bool },
    /// Behind the last chunk, with the line that is not complete yet and the bytes of those before.
    Trailers { line: Vec<u8>, before: usize },
    /// Behind the last line.
    Over,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self::Size { size: 0, digits: 0 }
    }

    pub(crate) fn are_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Passes over `bytes`; returns how many of them belong to the chunks.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && !self.are_over() {
            if let Self::Data { left } = self {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                *left -= here as u64;
                at += here;
                if *left == 0 {
                    *self = Self::DataEnd { cr: false };
                }
            } else {
                self.byte(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        let next = match (&mut *self, byte) {
            (Self::Size { size, digits }, digit) if digit.is_ascii_hexdigit() && *digits < SIZE_DIGITS => {
                Self::Size { size: *size << 4 | u64::from(hexadecimal(digit)), digits: *digits + 1 }
            }
            (Self::Size { size, digits: 1.. }, b'\r') => Self::SizeEnd { size: *size },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailers { line: Vec::new(), before: 0 },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: *size },
            (Self::DataEnd { cr: false }, b'\r') => Self::DataEnd { cr: true },
            (Self::DataEnd { cr: true }, b'\n') => Self::new(),
            (Self::Trailers { line, before }, byte) => {
                line.push(byte);
                if line.len() + *before > TRAILER_BYTES {
                    return Err(Malformed::TooLarge);
                }
                if byte != b'\n' {
                    return Ok(());
                }
                let ended = trailer(line)?;
                let before = *before + line.len();
                if ended { Self::Over } else { Self::Trailers { line: Vec::new(), before } }
            }
            _ => return Err(Malformed::Chunk),
        };
        *self = next;
        Ok(())
    }
}

/// Whether the line is the last.
fn trailer(line: &[u8]) -> Result<bool, Malformed> {
    let line = without_ending(line)?;
    if line.is_empty() {
        return Ok(true);
    }
    if Field::parse(line)?.may_be_trailer() { Ok(false) } else { Err(Malformed::Trailer) }
}

fn hexadecimal(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        letter => (letter | 0x20) - b'a' + 10,
    }
}
