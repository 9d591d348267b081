//! Passwords in URLs and in drivers' data source names.

use super::{Need, Scan, Verdict};
use crate::catalogue::{DSN_PASSWORD, URL_PASSWORD, URL_TOKEN};
use crate::placeholder::Style;
use crate::values;

/// Longest user name, and longest password of a data source name.
const MAX_USER: usize = 128;
const MAX_DSN: usize = 256;
/// A user alone is a token if it is so long and looks random.
const LEAST_TOKEN: usize = 20;

/// Ends a URL in text.
fn ends_url(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | b'|' | 0x7f)
}

impl Scan<'_> {
    pub(super) fn url(&self, view: &[u8], last: bool, at: usize, literal: usize) -> Verdict {
        let percent = view[at] == b'%';
        let scheme = view[..at]
            .iter()
            .rev()
            .take(24)
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte))
            .count();
        if scheme < 2 {
            return Verdict::No;
        }
        let user = at + literal;
        let (colon, sign): (&[u8], &[u8]) = if percent { (b"%3a", b"%40") } else { (b":", b"@") };
        let is =
            |at: usize, what: &[u8]| view.get(at..at + what.len()).is_some_and(|here| here.eq_ignore_ascii_case(what));
        let ends = |at: usize| {
            ends_url(view[at])
                || view[at] == b'\\' && view.get(at + 1).is_some_and(|next| b"nrt\"'".contains(next))
                || percent && (is(at, b"%20") || is(at, b"%22") || view[at] == b'&')
        };
        let mut at = user;
        while at < view.len()
            && !is(at, colon)
            && !is(at, sign)
            && !ends(at)
            && !matches!(view[at], b'/' | b'?' | b'#')
            && at - user <= MAX_USER
        {
            at += 1;
        }
        // Escapes of the delimiters may still be cut.
        if at == view.len() || percent && at + 3 > view.len() {
            return if last { Verdict::No } else { Verdict::Open(user, Need::Delimiter) };
        }
        if is(at, sign) {
            let token = &view[user..at];
            let hidden = token.len() >= LEAST_TOKEN && values::looks_random(token) && self.engine.is_on(URL_TOKEN);
            return if hidden { Verdict::value(user, at, URL_TOKEN, Style::Dotted) } else { Verdict::No };
        }
        if !is(at, colon) || !self.engine.is_on(URL_PASSWORD) {
            return Verdict::No;
        }
        let password = at + colon.len();
        let mut end = None;
        let mut at = password;
        let mut path = false;
        while at < view.len() && !ends(at) {
            if is(at, sign) {
                end = Some(at);
            } else if matches!(view[at], b'/' | b'?' | b'#') {
                // A port, or the end of the authority. A raw slash in a password is wrong, and happens.
                let digits = view[password..at].iter().all(u8::is_ascii_digit);
                if end.is_some() || digits || path {
                    break;
                }
                path = true;
            }
            at += 1;
        }
        if at == view.len() && !last {
            return Verdict::Open(password, Need::Delimiter);
        }
        let Some(end) = end else { return Verdict::No };
        let value = &view[password..end];
        if value.is_empty() || is_reference(value) {
            return Verdict::No;
        }
        Verdict::value(password, end, URL_PASSWORD, Style::Dotted)
    }

    /// `user:password@tcp(host)/db`, `jdbc:oracle:thin:user/password@host`.
    pub(super) fn dsn(view: &[u8], last: bool, at: usize, literal: &[u8]) -> Verdict {
        if literal.starts_with(b"@") {
            let Some(start) = dsn_password(&view[..at]) else { return Verdict::No };
            return if start == at || is_reference(&view[start..at]) {
                Verdict::No
            } else {
                Verdict::value(start, at, DSN_PASSWORD, Style::Dotted)
            };
        }
        let user = at + literal.len();
        let slash = user
            + view[user..]
                .iter()
                .take(MAX_USER)
                .take_while(|byte| byte.is_ascii_alphanumeric() || b"_$#.".contains(byte))
                .count();
        if slash == user || view.get(slash) != Some(&b'/') {
            return Verdict::No;
        }
        let password = slash + 1;
        let len = view[password..].iter().take_while(|byte| **byte != b'@' && !ends_url(**byte)).count();
        match view.get(password + len) {
            None if !last => Verdict::Open(password, Need::Delimiter),
            Some(b'@') if len > 0 && !is_reference(&view[password..password + len]) => {
                Verdict::value(password, password + len, DSN_PASSWORD, Style::Dotted)
            }
            _ => Verdict::No,
        }
    }
}

/// A variable or a mask, not the word `password`, which is many a database's.
fn is_reference(value: &[u8]) -> bool {
    values::is_no_value(value) && !value.iter().all(u8::is_ascii_alphanumeric)
        || value.iter().all(|byte| matches!(byte, b'x' | b'X')) && value.len() > 2
}

/// Where the password of a data source name begins that ends where `text` ends.
fn dsn_password(text: &[u8]) -> Option<usize> {
    let from = text.len().saturating_sub(MAX_DSN);
    let word = from + text[from..].iter().rposition(|byte| ends_url(*byte) || *byte == b'=').map_or(0, |at| at + 1);
    let user = text[word..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte)).count();
    let colon = word + user;
    (user > 0 && text.get(colon) == Some(&b':') && !text[colon + 1..].starts_with(b"/")).then_some(colon + 1)
}

/// Where what may become such a password begins.
pub(super) fn open_dsn(text: &[u8]) -> Option<usize> {
    dsn_password(text).filter(|start| *start < text.len())
}
