//! What needs lines: the policy's own expressions, and the classes that are off by default.

use super::{Found, Need, Outcome, Scan, What};
use crate::catalogue::{CARD, EMAIL, IP};
use crate::placeholder::Style;
use crate::values;

/// Longest line that is held for these; a longer one is looked at in parts of this length.
const MAX_LINE: usize = 4096;

impl Scan<'_> {
    pub(super) fn lines(&self, outcome: &mut Outcome) {
        let mut at = self.from;
        while at < self.text.len() {
            let rest = &self.text[at..];
            let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let whole_line = len < rest.len() || rest.ends_with(b"\n") || self.last;
            let len = if self.whole { len } else { len.min(MAX_LINE) };
            if !whole_line && len < MAX_LINE {
                outcome.hold(at, Need::Line);
                return;
            }
            self.line(at, at + len, outcome);
            at += len;
        }
    }

    fn line(&self, start: usize, end: usize, outcome: &mut Outcome) {
        let line = &self.text[start..end];
        for (number, custom) in self.engine.policy.custom.iter().enumerate() {
            for captures in custom.regex.captures_iter(line) {
                let Some(found) = captures.get(1).or_else(|| captures.get(0)) else { continue };
                let what = What::Value(self.engine.custom_id(number), Style::Free);
                self.add(Found { start: start + found.start(), end: start + found.end(), what }, outcome);
            }
        }
        for (id, finder) in [(EMAIL, email as fn(&[u8]) -> Option<(usize, usize)>), (CARD, card), (IP, address)] {
            if !self.engine.is_on(id) {
                continue;
            }
            let mut from = 0;
            while let Some((first, after)) = finder(&line[from..]) {
                let what = What::Value(id, Style::Free);
                self.add(Found { start: start + from + first, end: start + from + after, what }, outcome);
                from += after;
            }
        }
    }
}

fn email(line: &[u8]) -> Option<(usize, usize)> {
    memchr::memchr_iter(b'@', line).find_map(|at| {
        let local =
            line[..at].iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte)).count();
        let domain =
            line[at + 1..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte)).count();
        let name = line[at + 1..at + 1 + domain].strip_suffix(b".").unwrap_or(&line[at + 1..at + 1 + domain]);
        let top = name.rsplit(|byte| *byte == b'.').next()?;
        let valid = local > 0
            && name.contains(&b'.')
            && (2..=24).contains(&top.len())
            && top.iter().all(u8::is_ascii_alphabetic);
        valid.then_some((at - local, at + 1 + name.len()))
    })
}

fn card(line: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while at < line.len() {
        if !line[at].is_ascii_digit() || at > 0 && line[at - 1].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let len = line[at..].iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-')).count();
        let number = &line[at..at + len];
        let number = number.trim_ascii_end();
        let digits = || number.iter().copied().filter(u8::is_ascii_digit);
        let issuer = matches!(number[0], b'2'..=b'6');
        let followed = line.get(at + number.len()).is_some_and(u8::is_ascii_alphanumeric);
        if (13..=19).contains(&digits().count())
            && issuer
            && !followed
            && values::luhn(digits().collect::<Vec<_>>().into_iter())
            && number.iter().any(|digit| *digit != number[0])
        {
            return Some((at, at + number.len()));
        }
        at += len;
    }
    None
}

fn address(line: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while at < line.len() {
        if !line[at].is_ascii_digit() || at > 0 && (line[at - 1].is_ascii_alphanumeric() || line[at - 1] == b'.') {
            at += 1;
            continue;
        }
        let len = line[at..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        let text = line[at..at + len].strip_suffix(b".").unwrap_or(&line[at..at + len]);
        let followed = line.get(at + text.len()).is_some_and(u8::is_ascii_alphabetic);
        if !followed && std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv4Addr>().is_ok()) {
            return Some((at, at + text.len()));
        }
        at += len;
    }
    None
}
