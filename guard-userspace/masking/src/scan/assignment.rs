//! Values whose key says that they are secret: in shell, `.env`, INI, logfmt, XML, JSON, YAML, headers, connection strings, source
//! code; and credentials behind the name of an authentication scheme.

use super::{Need, Scan, Verdict};
use crate::catalogue::{AUTHORIZATION, COOKIE, Id, KEY_VALUE};
use crate::encoded;
use crate::keys::{self, KeyClass, MAX_KEY};
use crate::placeholder::Style;
use crate::values;

/// Longest quoted value; what is longer has lost its quote.
const MAX_QUOTED: usize = 4096;
/// Most blanks between key, operator and value.
const MAX_BLANKS: usize = 32;

/// How a value stands in the text.
struct Place {
    start: usize,
    quote: Option<Quote>,
    operator: Operator,
}

/// A quote with the backslashes before it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Quote {
    byte: u8,
    escapes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    /// `:`, also of a header.
    Colon,
    /// `=`, `:=`, `=>`.
    Equals,
    /// `%3D`
    Percent,
    /// `<password>`
    Element,
    /// A blank behind a flag.
    Blank,
}

impl Scan<'_> {
    /// `at` is where the last word of a key begins, `len` its length.
    pub(super) fn assignment(&self, view: &[u8], last: bool, at: usize, len: usize) -> Verdict {
        let mut key_end = at + len;
        while view.get(key_end).is_some_and(u8::is_ascii_digit) && key_end < at + len + 2 {
            key_end += 1;
        }
        if view.get(key_end).is_none_or(|byte| is_key(*byte) && !(*byte == b'-' || *byte == b'.')) {
            return Verdict::No;
        }
        if view[key_end] == b'_' || view[key_end] == b'-' && view.get(key_end + 1).is_none_or(u8::is_ascii_alphanumeric)
        {
            return Verdict::No;
        }
        let key_start = at - view[..at].iter().rev().take(MAX_KEY).take_while(|byte| is_key(**byte)).count();
        // The escape of a line's end is no part of the key.
        let key_start = if view[..key_start].ends_with(b"\\")
            && view.get(key_start).is_some_and(|byte| b"nrt".contains(byte))
            && key_start < at
        {
            key_start + 1
        } else {
            key_start
        };
        let key = &view[key_start..key_end];
        let class = keys::classify(key);
        let id = match class {
            KeyClass::Plain => return Verdict::No,
            KeyClass::Strong | KeyClass::Weak => KEY_VALUE,
            KeyClass::Authorization => AUTHORIZATION,
            KeyClass::Cookie => COOKIE,
        };
        if !self.engine.is_on(id) {
            return Verdict::No;
        }
        let Some(place) = place(view, key_start, key_end, class) else { return Verdict::No };
        Self::value(view, last, &place, class, id, key)
    }

    fn value(view: &[u8], last: bool, place: &Place, class: KeyClass, id: Id, key: &[u8]) -> Verdict {
        let Some(end) = value_end(view, last, place) else { return Verdict::Open(place.start, Need::Delimiter) };
        let mut start = place.start;
        let mut end = end;
        let mut scheme = false;
        if (id == AUTHORIZATION || class == KeyClass::Weak)
            && let Some(len) = scheme_len(&view[start..end], view, start)
        {
            scheme = true;
            start += len;
            if place.quote.is_none() {
                let rest = Place { start, ..*place };
                match value_end(view, last, &rest) {
                    Some(rest) => end = rest,
                    None => return Verdict::Open(start, Need::Delimiter),
                }
            }
        }
        if id == COOKIE && place.quote.is_none() {
            // All cookies of the header, up to the line's end.
            let len = view[start..].iter().take_while(|byte| !matches!(byte, b'\n' | b'\r' | b'"' | b'\'')).count();
            if start + len == view.len() && !last {
                return Verdict::Open(start, Need::Line);
            }
            end = start + len;
        }
        if place.operator == Operator::Element {
            match view.get(end..end + 2) {
                Some(b"</") => {}
                None if !last => return Verdict::Open(start, Need::Delimiter),
                _ => return Verdict::No,
            }
        }
        if place.quote.is_none() {
            end = trimmed(view, start, end, place.operator);
        }
        if start >= end {
            return Verdict::No;
        }
        let value = &view[start..end];
        // What follows a bare word may show that it is a sentence.
        if place.quote.is_none() && place.operator == Operator::Colon && end + 2 > view.len() && !last {
            return Verdict::Open(start, Need::Delimiter);
        }
        let style = match place.operator {
            Operator::Colon => Style::Free,
            _ if place.quote.is_some() => Style::Free,
            _ => Style::Dotted,
        };
        let prose = place.quote.is_none() && place.operator == Operator::Colon && in_sentence(view, start, end);
        let style = if place.operator == Operator::Element { Style::Dotted } else { style };
        let secret = match class {
            _ if prose && !scheme => false,
            KeyClass::Cookie => value.len() >= 8 && value.contains(&b'=') && !values::is_no_value(value),
            KeyClass::Authorization if scheme => {
                value.len() >= 4 && !values::is_no_value(value) && !value.contains(&b' ') | (value.len() > 40)
            }
            KeyClass::Authorization => values::looks_random(value) && !values::is_no_value(value),
            _ if scheme => value.len() >= 8 && !values::is_no_value(value),
            _ => is_secret(class, key, value),
        };
        if secret { Verdict::value(start, end, id, style) } else { Verdict::No }
    }

    /// `Bearer TOKEN`, `Basic BASE64` without the name of a header before.
    pub(super) fn scheme(view: &[u8], last: bool, at: usize, len: usize) -> Verdict {
        if !super::token::is_boundary(view, at, true) {
            return Verdict::No;
        }
        let start = at + len;
        let run =
            view[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(byte)).count();
        let end = start + run;
        if end == view.len() && !last {
            return Verdict::Open(start, Need::Delimiter);
        }
        let value = &view[start..end];
        let basic = view[at].eq_ignore_ascii_case(&b'b') && view[at + 1].eq_ignore_ascii_case(&b'a');
        let secret = if basic {
            let run = value.split(|byte| *byte == b'=').next().unwrap_or(value);
            let decoded =
                if run.iter().all(|byte| encoded::is_base64(*byte)) { encoded::decode(run) } else { Vec::new() };
            value.len() >= 8 && decoded.contains(&b':') && encoded::is_text_throughout(&decoded)
        } else {
            value.len() >= 16 && values::looks_random(value) && !values::is_no_value(value)
        };
        if secret { Verdict::value(start, end, AUTHORIZATION, Style::Free) } else { Verdict::No }
    }
}

/// Whether a value of a key of this class is secret.
pub(crate) fn is_secret(class: KeyClass, key: &[u8], value: &[u8]) -> bool {
    if values::is_no_value(value) || value.eq_ignore_ascii_case(key) {
        return false;
    }
    match class {
        KeyClass::Plain => false,
        KeyClass::Strong => {
            let is_key = values::contains_folded(key, b"key")
                || values::contains_folded(key, b"token")
                || values::contains_folded(key, b"secret");
            // `PWD` is the shell's too; counters and flags are no passwords.
            let working_directory = value.starts_with(b"/") && key.len() == 3;
            let short = value.len() < 3
                || is_key
                    && (value.len() < 6
                        || value.iter().all(u8::is_ascii_digit)
                        || values::is_name(value) && value.len() < 16 && !value.iter().any(u8::is_ascii_digit));
            !short && !working_directory && !values::is_prose(value)
        }
        KeyClass::Weak => values::looks_random(value) && !value.contains(&b'(') && !is_reference(value),
        KeyClass::Authorization | KeyClass::Cookie => values::looks_random(value),
    }
}

/// A URL or a path leads to a secret, it is none (its password has a detector of its own).
fn is_reference(value: &[u8]) -> bool {
    value.windows(3).any(|window| window == b"://") || value.starts_with(b"/") || value.starts_with(b"./")
}

const fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$')
}

/// From behind the key to the value.
fn place(view: &[u8], key_start: usize, key_end: usize, class: KeyClass) -> Option<Place> {
    if view[key_end] == b'>' && key_start > 0 && (view[key_start - 1] == b'<' || view[key_start - 1] == b':') {
        return value_at(view, key_end + 1, Operator::Element);
    }
    let mut at = key_end;
    let quote = quote_at(view, at);
    if let Some(quote) = quote {
        at += quote.escapes + 1;
        if view.get(at) == Some(&b']') {
            at += 1;
        }
    }
    let flag = view[key_start..key_end].starts_with(b"--")
        || view[..key_end].get(key_start.wrapping_sub(2)..key_start) == Some(b"--");
    let after_key = at;
    at += blanks(view, at);
    let rest = &view[at..];
    let folded = |text: &[u8]| rest.len() >= text.len() && rest[..text.len()].eq_ignore_ascii_case(text);
    let (len, operator) = match rest.first()? {
        b'=' if rest.starts_with(b"==") || rest.starts_with(b"=~") => return None,
        b'=' if rest.starts_with(b"=>") => (2, Operator::Equals),
        b'=' => (1, Operator::Equals),
        b':' if rest.starts_with(b":=") || rest.starts_with(b"::") => (2, Operator::Equals),
        b':' => (1, Operator::Colon),
        b'%' if folded(b"%3d") || folded(b"%3a") => (3, Operator::Percent),
        _ => {
            if at > after_key
                && quote.is_none()
                && (flag || class == KeyClass::Strong && is_netrc(view, key_start, key_end))
            {
                return value_at(view, at, Operator::Blank);
            }
            return sibling(view, after_key, quote);
        }
    };
    value_at(view, at + len, operator)
}

/// `name: KEY` on one line, `value: …` on the next; `"name":"KEY","value":"…"`; `key="KEY" value="…"`.
fn sibling(view: &[u8], from: usize, quote: Option<Quote>) -> Option<Place> {
    let gap = view[from..]
        .iter()
        .take(MAX_BLANKS)
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b','))
        .count();
    let mut at = from + gap;
    if gap == 0 {
        // The escape of a line's end.
        let escaped = view.get(at..at + 2) == Some(b"\\n");
        if !escaped {
            return None;
        }
        at += 2;
        at += blanks(view, at);
    }
    if let Some(quote) = quote
        && quote_at(view, at) == Some(quote)
    {
        at += quote.escapes + 1;
    }
    let word = view.get(at..at + 5)?;
    if !word.eq_ignore_ascii_case(b"value") {
        return None;
    }
    at += 5;
    if let Some(quote) = quote_at(view, at) {
        at += quote.escapes + 1;
    }
    at += blanks(view, at);
    match view.get(at)? {
        b':' => value_at(view, at + 1, Operator::Colon),
        b'=' => value_at(view, at + 1, Operator::Equals),
        _ => None,
    }
}

fn value_at(view: &[u8], mut at: usize, operator: Operator) -> Option<Place> {
    at += blanks(view, at);
    if view.get(at) == Some(&b'[') && quote_at(view, at + 1).is_some() {
        at += 1;
    }
    let quote = if operator == Operator::Element { None } else { quote_at(view, at) };
    if let Some(quote) = quote {
        at += quote.escapes + 1;
    }
    (at < view.len()).then_some(Place { start: at, quote, operator })
}

fn blanks(view: &[u8], at: usize) -> usize {
    view[at.min(view.len())..].iter().take(MAX_BLANKS).take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

fn quote_at(view: &[u8], at: usize) -> Option<Quote> {
    let escapes = view[at.min(view.len())..].iter().take(8).take_while(|byte| **byte == b'\\').count();
    let byte = *view.get(at + escapes)?;
    matches!(byte, b'"' | b'\'' | b'`').then_some(Quote { byte, escapes })
}

/// `machine HOST login NAME password VALUE`.
fn is_netrc(view: &[u8], key_start: usize, key_end: usize) -> bool {
    &view[key_start..key_end] == b"password" && {
        let before = &view[key_start.saturating_sub(160)..key_start];
        memchr::memmem::find(before, b"login ").is_some()
            && (memchr::memmem::find(before, b"machine ").is_some()
                || memchr::memmem::find(before, b"default").is_some())
    }
}

/// `None`: more of the text must come first.
fn value_end(view: &[u8], last: bool, place: &Place) -> Option<usize> {
    let rest = &view[place.start..];
    if let Some(quote) = place.quote {
        match quoted_end(&rest[..rest.len().min(MAX_QUOTED)], quote) {
            Some(end) => return Some(place.start + end),
            None if rest.len() < MAX_QUOTED && !last && !rest.contains(&b'\n') => return None,
            None => {}
        }
    }
    let ends = |at: usize| {
        let byte = rest[at];
        let next = rest.get(at + 1);
        byte <= b' ' && place.operator != Operator::Element
            || matches!(byte, b'"' | b'`' | b'<' | 0x7f)
            || byte == b'\'' && place.quote.is_some()
            || byte == b'\n'
            || byte == b'\\' && next.is_some_and(|next| b"nrt\"'\\".contains(next))
            || place.operator == Operator::Percent
                && byte == b'%'
                && rest.get(at + 1..at + 3).is_some_and(|code| {
                    [b"26", b"20", b"22", b"0A", b"0a", b"0D", b"3B", b"3b"]
                        .contains(&<&[u8; 2]>::try_from(code).expect("two bytes"))
                })
    };
    let len = (0..rest.len()).find(|at| ends(*at));
    match len {
        Some(len) => Some(place.start + len),
        None if last => Some(view.len()),
        None => None,
    }
}

/// Where a quoted value ends: at the quote, with as many backslashes as before the first.
fn quoted_end(rest: &[u8], quote: Quote) -> Option<usize> {
    let mut at = 0;
    while at < rest.len() {
        at += memchr::memchr3(quote.byte, b'\n', b'\\', &rest[at..])?;
        match rest[at] {
            b'\n' => return None,
            b'\\' => {
                let run = rest[at..].iter().take_while(|byte| **byte == b'\\').count();
                let quoted = rest.get(at + run) == Some(&quote.byte);
                if quoted && run == quote.escapes {
                    return Some(at);
                }
                if quoted && quote.escapes == 0 && run.is_multiple_of(2) {
                    return Some(at + run);
                }
                at += run + usize::from(quoted);
            }
            _ if quote.escapes == 0 => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// A bare value ends where another assignment begins, and before what closes the sentence or the bracket around it.
fn trimmed(view: &[u8], start: usize, end: usize, operator: Operator) -> usize {
    let mut end = end;
    for at in start..end {
        if matches!(view[at], b',' | b';' | b'&') {
            let rest = &view[at + 1..end];
            let key = rest.iter().take_while(|byte| is_key(**byte)).count();
            let assigns = key > 0 && matches!(rest.get(key), Some(b'=' | b':'));
            // `Password=x;User Id=sa`: the key may have a blank.
            if assigns
                || rest.is_empty()
                || view[at] == b';' && operator == Operator::Equals && rest.iter().all(u8::is_ascii_alphabetic)
            {
                end = at;
                break;
            }
        }
    }
    while start < end {
        let value = &view[start..end];
        let unbalanced = |open: u8, close: u8| value.ends_with(&[close]) && !value.contains(&open);
        if unbalanced(b'(', b')')
            || unbalanced(b'[', b']')
            || unbalanced(b'{', b'}')
            || value.ends_with(b",")
            || value.ends_with(b";")
            || value.ends_with(b"'") && !value.starts_with(b"'")
        {
            end -= 1;
        } else {
            break;
        }
    }
    end
}

/// `password: must be at least …`: a word of a sentence.
fn in_sentence(view: &[u8], start: usize, end: usize) -> bool {
    let word = view[start..end].strip_suffix(b",").unwrap_or(&view[start..end]);
    word.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'\'')
        && view.get(end) == Some(&b' ')
        && view.get(end + 1).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'"')
}

/// The name of an authentication scheme and the blank behind it, at the beginning of a header's value.
fn scheme_len(value: &[u8], view: &[u8], start: usize) -> Option<usize> {
    const SCHEMES: &[&str] = &[
        "bearer",
        "basic",
        "token",
        "apikey",
        "api-key",
        "digest",
        "negotiate",
        "bot",
        "ntlm",
        "aws4-hmac-sha256",
        "hmac",
        "key",
        "genie-key",
        "splunk",
        "sso-key",
        "jwt",
        "oauth",
    ];
    let len = value.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    let known = SCHEMES.iter().any(|scheme| scheme.as_bytes().eq_ignore_ascii_case(&value[..len]));
    let blank = view.get(start + len) == Some(&b' ');
    let percent = view.get(start + len..start + len + 3) == Some(b"%20");
    known.then_some(()).and(if blank {
        Some(len + 1)
    } else if percent {
        Some(len + 3)
    } else {
        None
    })
}

/// What of a whole value, whose key has this class, is secret: all of it, or what follows the name of a scheme.
pub(crate) fn secret_value(class: KeyClass, key: &[u8], value: &[u8]) -> Option<std::ops::Range<usize>> {
    if matches!(class, KeyClass::Authorization | KeyClass::Weak)
        && let Some(len) = scheme_len(value, value, 0)
    {
        let rest = &value[len..];
        return (rest.len() >= 4 && !values::is_no_value(rest) && !values::is_prose(value)).then_some(len..value.len());
    }
    let cookie = class == KeyClass::Cookie && value.len() >= 8 && value.contains(&b'=') && !values::is_prose(value);
    (cookie || is_secret(class, key, value)).then_some(0..value.len())
}
