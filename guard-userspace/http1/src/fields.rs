//! One line of headers or trailers.

use crate::Malformed;
use crate::characters::{is_plain_value, is_token, trim};

/// Those of which only one can count. For the last ones the API server takes the first, another reader the last.
const SINGLE: [&str; 18] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "if-modified-since",
    "if-range",
    "if-unmodified-since",
    "origin",
    "range",
    "sec-websocket-key",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "kubectl-command",
    "kubectl-session",
];

/// What decides how the request is read, who asks, or what for, has no place behind the body (RFC 9110, 6.5.1).
const NOT_BEHIND: [&str; 12] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header, named in lower case, may be there once at most.
pub fn is_single(name: &str) -> bool {
    SINGLE.contains(&name)
}

/// A header as its line has it.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    /// Without the spaces around.
    pub(crate) value: &'a [u8],
}

impl<'a> Field<'a> {
    /// From a line without its ending.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Malformed::Folded);
        }
        let colon = memchr::memchr(b':', line).ok_or(Malformed::FieldName)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) {
            return Err(Malformed::FieldName);
        }
        if !is_plain_value(value) {
            return Err(Malformed::FieldValue);
        }
        Ok(Self { name, value: trim(value) })
    }

    pub(crate) fn is(self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Its place among those that may be there once.
    pub(crate) fn single(self) -> Option<usize> {
        SINGLE.iter().position(|name| self.is(name))
    }

    pub(crate) fn may_be_trailer(self) -> bool {
        !NOT_BEHIND.iter().any(|name| self.is(name))
    }

    /// Whether a list has this element.
    pub(crate) fn lists(self, element: &str) -> bool {
        self.value.split(|byte| *byte == b',').any(|found| trim(found).eq_ignore_ascii_case(element.as_bytes()))
    }
}

/// A line without its CR LF.
pub(crate) fn without_ending(line: &[u8]) -> Result<&[u8], Malformed> {
    let line = line.strip_suffix(b"\r\n").ok_or(Malformed::LineEnding)?;
    if memchr::memchr(b'\r', line).is_some() { Err(Malformed::LineEnding) } else { Ok(line) }
}

/// How many may be there once.
pub(crate) const SINGLES: usize = SINGLE.len();
