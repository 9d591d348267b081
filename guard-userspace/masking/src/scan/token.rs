//! Tokens by their prefix, and JSON Web Tokens.

use super::{Need, Scan, Verdict};
use crate::catalogue;
use crate::encoded;
use crate::engine::CompiledBefore;
use crate::placeholder::Style;
use crate::shape::Fit;
use crate::values;

/// Of a run whose mark comes late, so much may have left before it is held.
pub(super) const HELD_FROM: usize = 16;
/// A longer run is no token of that kind.
pub(super) const LONGEST_RUN: usize = 128;

/// Characters of tokens whose mark stands inside.
pub(super) const fn in_run(byte: u8) -> bool {
    encoded::is_base64(byte)
}

impl Scan<'_> {
    pub(super) fn token(&self, view: &[u8], last: bool, at: usize, prefix: usize, number: u16) -> Verdict {
        let token = &self.engine.tokens[usize::from(number)];
        let start = match &token.before {
            CompiledBefore::Boundary => is_boundary(view, at, token.strict).then_some(at),
            CompiledBefore::Public(form) => {
                form.fit_before(view, at).filter(|start| is_boundary(view, *start, false)).map(|_| at)
            }
            CompiledBefore::Token(form) => {
                form.fit_before(view, at).map(|start| if self.whole { start } else { held_start(view, at).max(start) })
            }
        };
        let Some(start) = start else { return Verdict::No };
        let literal = at + prefix;
        // Prefixes that were lengthened for the index reach into the tail.
        let body = literal - token_overlap(token, view, at, literal);
        let mut longest = None;
        for tail in &token.tails {
            match tail.fit(view, body, last) {
                Fit::Open => return Verdict::Open(start, Need::Delimiter),
                Fit::To(end) => longest = longest.max(Some(end)),
                Fit::No => {}
            }
        }
        let Some(end) = longest else { return Verdict::No };
        let hidden = &view[body..end];
        let plausible = match token.before {
            CompiledBefore::Token(_) => true,
            _ if token.random => values::looks_random(hidden) && values::is_token_body(hidden),
            _ => values::is_token_body(hidden),
        };
        if plausible { Verdict::value(start, end, token.id, Style::Free) } else { Verdict::No }
    }

    /// RFC 7515, 3.1: three parts; RFC 7516, 3.1: five. The first is JSON and names an algorithm.
    pub(super) fn jwt(&self, view: &[u8], last: bool, at: usize) -> Verdict {
        if !is_boundary(view, at, false) {
            return Verdict::No;
        }
        let part_end = |from: usize| from + view[from..].iter().take_while(|byte| is_base64url(**byte)).count();
        let mut ends = [0; 5];
        let mut parts = 0;
        let mut from = at;
        loop {
            ends[parts] = part_end(from);
            parts += 1;
            if ends[parts - 1] == view.len() && !last {
                return Verdict::Open(at, Need::Delimiter);
            }
            if parts == 5 || view.get(ends[parts - 1]) != Some(&b'.') {
                break;
            }
            from = ends[parts - 1] + 1;
        }
        if parts < 3 {
            return Verdict::No;
        }
        let header = encoded::decode(&view[at..ends[0]]);
        let encrypted = parts == 5 && values::contains_folded(&header, b"\"enc\"");
        if !values::contains_folded(&header, b"\"alg\"") && !values::contains_folded(&header, b"\"typ\"") {
            return Verdict::No;
        }
        let end = if encrypted { ends[4] } else { ends[2] };
        let payload = encoded::decode(&view[ends[0] + 1..ends[1]]);
        if !encrypted && payload.first() != Some(&b'{') {
            return Verdict::No;
        }
        let ours = values::contains_folded(&payload, b"kubernetes.io")
            || values::contains_folded(&payload, b"system:serviceaccount:")
            || values::contains_folded(&payload, b"kubernetes/serviceaccount");
        let id = if ours && self.engine.is_on(catalogue::KUBERNETES_TOKEN) {
            catalogue::KUBERNETES_TOKEN
        } else {
            catalogue::JWT
        };
        if self.engine.is_on(id) { Verdict::value(at, end, id, Style::Free) } else { Verdict::No }
    }
}

/// By how much the matched literal is longer than the prefix of the catalogue.
fn token_overlap(token: &crate::engine::CompiledToken, view: &[u8], at: usize, literal: usize) -> usize {
    let prefix = token
        .prefixes
        .iter()
        .filter(|prefix| view[at..literal].starts_with(prefix.as_bytes()))
        .map(|prefix| prefix.len())
        .max();
    literal - at - prefix.unwrap_or(literal - at)
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Where a run of token characters that holds `at` has not left yet.
fn held_start(text: &[u8], at: usize) -> usize {
    let run = text[..at].iter().rev().take_while(|byte| in_run(**byte)).take(LONGEST_RUN).count();
    (at - run + HELD_FROM).min(at)
}

/// Whether a word begins at `at`: no letter or digit is before it, or one that ends an escape (`\n`, `%3D`, `\u003d`, `ESC[1m`).
/// `strict`: `-` and `_` go on with a word too.
pub(super) fn is_boundary(text: &[u8], at: usize, strict: bool) -> bool {
    let before = &text[..at];
    let Some(previous) = before.last() else { return true };
    if !previous.is_ascii_alphanumeric() {
        return !(strict && matches!(previous, b'-' | b'_'));
    }
    let back = |count: usize| before.len().checked_sub(count).map(|at| before[at]);
    let hex = |count: usize| before[before.len() - count..].iter().all(u8::is_ascii_hexdigit);
    if back(2) == Some(b'\\') && b"ntrbfvae0".contains(previous) {
        return true;
    }
    if back(3) == Some(b'%') && hex(2) {
        return true;
    }
    if back(6) == Some(b'\\') && back(5) == Some(b'u') && hex(4)
        || back(4) == Some(b'\\') && back(3) == Some(b'x') && hex(2)
    {
        return true;
    }
    *previous == b'm' && ends_colour(before)
}

/// ECMA-48, 8.3.117: `ESC [ 0 ; 31 m`.
fn ends_colour(before: &[u8]) -> bool {
    let parameters = before[..before.len() - 1]
        .iter()
        .rev()
        .take(12)
        .take_while(|byte| byte.is_ascii_digit() || **byte == b';')
        .count();
    before[..before.len() - 1 - parameters].ends_with(b"\x1b[")
}
