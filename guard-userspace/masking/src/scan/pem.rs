//! Private keys in text form.

use memchr::memmem;

use super::{Need, Scan, Verdict};
use crate::catalogue::{PGP_PRIVATE_KEY, PRIVATE_KEY, PUTTY_PRIVATE_KEY};
use crate::placeholder::Style;

/// Longest label (RFC 7468, 3) and headers before the first line of base64.
const MAX_LABEL: usize = 64;
const MAX_HEADERS: usize = 1024;
/// Characters of base64 that a key begins with; prose that names a key's first line has none.
const BODY: usize = 16;

impl Scan<'_> {
    pub(super) fn pem(&self, view: &[u8], last: bool, at: usize) -> Verdict {
        let dashes = view[at..].iter().take_while(|byte| **byte == b'-').count();
        let label = at + dashes;
        let line = &view[label..view.len().min(label + MAX_LABEL)];
        let Some(len) = memmem::find(line, b"----") else {
            let may_go_on = !last && line.len() < MAX_LABEL && !line.contains(&b'\n');
            return if may_go_on { Verdict::Open(at, Need::Delimiter) } else { Verdict::No };
        };
        let Some(id) = key_of(&line[..len]).filter(|id| self.engine.is_on(*id)) else { return Verdict::No };
        let body = label + len + view[label + len..].iter().take_while(|byte| **byte == b'-').count();
        let search = &view[body..];
        let end = memmem::find(search, b"-----END").or_else(|| memmem::find(search, b"---- END"));
        let head = &search[..end.unwrap_or(search.len()).min(MAX_HEADERS)];
        if !has_body(head) {
            let may_go_on = !last && end.is_none() && head.len() < MAX_HEADERS;
            return if may_go_on { Verdict::Open(at, Need::Delimiter) } else { Verdict::No };
        }
        let Some(end) = end else {
            return if last {
                Verdict::value(at, view.len(), id, Style::Free)
            } else {
                Verdict::Open(at, Need::Text(b"END"))
            };
        };
        // Behind the label of the last line come dashes again.
        let tail = body + end + "-----END".len();
        let rest = &view[tail..view.len().min(tail + MAX_LABEL)];
        let Some(dashes) = memmem::find(rest, b"----") else {
            let may_go_on = !last && rest.len() < MAX_LABEL;
            return if may_go_on {
                Verdict::Open(at, Need::Delimiter)
            } else {
                Verdict::value(at, tail, id, Style::Free)
            };
        };
        let count = rest[dashes..].iter().take(5).take_while(|byte| **byte == b'-').count();
        if tail + dashes + count == view.len() && count < 5 && !last {
            return Verdict::Open(at, Need::Delimiter);
        }
        Verdict::value(at, tail + dashes + count, id, Style::Free)
    }

    /// Files of `PuTTY` end with their `Private-MAC` or `Private-Hash`.
    pub(super) fn putty(view: &[u8], last: bool, at: usize) -> Verdict {
        let rest = &view[at..];
        let mac = memmem::find(rest, b"Private-MAC: ").or_else(|| memmem::find(rest, b"Private-Hash: "));
        let Some(mac) = mac else {
            return match (last, memmem::find(rest, b"Private-Lines")) {
                (false, _) => Verdict::Open(at, Need::Text(b"Private-")),
                (true, None) => Verdict::No,
                (true, Some(_)) => Verdict::value(at, view.len(), PUTTY_PRIVATE_KEY, Style::Free),
            };
        };
        let value = mac + "Private-MAC: ".len();
        let len = rest[value..].iter().take_while(|byte| byte.is_ascii_hexdigit() || **byte == b' ').count();
        if value + len == rest.len() && !last {
            return Verdict::Open(at, Need::Delimiter);
        }
        Verdict::value(at, at + value + len, PUTTY_PRIVATE_KEY, Style::Free)
    }
}

fn key_of(label: &[u8]) -> Option<u16> {
    let is = |words: &[u8]| memmem::find(label, words).is_some();
    if label.contains(&b'\n') {
        return None;
    }
    match () {
        () if is(b"PGP PRIVATE KEY") => Some(PGP_PRIVATE_KEY),
        () if is(b"PRIVATE KEY") || is(b"ENCRYPTED FILE") || is(b"OpenVPN Static key") => Some(PRIVATE_KEY),
        () => None,
    }
}

/// Whether base64 follows: in a line, after line ends in any spelling, after headers.
fn has_body(head: &[u8]) -> bool {
    let mut run = 0;
    for byte in head {
        run = if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=') { run + 1 } else { 0 };
        if run >= BODY {
            return true;
        }
    }
    false
}
