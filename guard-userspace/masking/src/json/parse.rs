//! The grammar of RFC 8259, byte by byte where structure is, string by string where it isn't.

use super::frame::{Frame, Kind, Role};
use super::{Fault, JsonMasker, LIMIT, MAX_DEPTH, strings};
use crate::catalogue;
use crate::engine::Engine;
use crate::keys::KeyClass;
use crate::placeholder::Style;
use crate::value;

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Value,
    FirstValue,
    FirstKey,
    Key,
    Colon,
    /// A comma, or the end of the container.
    Next,
}

impl JsonMasker {
    /// Parses as far as tokens are complete. `last`: nothing follows.
    pub(super) fn advance(&mut self, engine: &Engine, last: bool) -> Result<(), Fault> {
        if self.swallowing && !self.swallow_rest() {
            return Ok(());
        }
        while let Some(byte) = self.held.bytes.get(self.at).copied() {
            match (byte, self.expect) {
                (b' ' | b'\n' | b'\r' | b'\t', _) => {
                    let rest = &self.held.bytes[self.at..];
                    self.at += rest
                        .iter()
                        .position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
                        .unwrap_or(rest.len());
                }
                (b'"', Expect::Value | Expect::FirstValue | Expect::FirstKey | Expect::Key) => {
                    let Some((len, escaped)) = strings::string_len(&self.held.bytes[self.at + 1..]) else {
                        return Ok(());
                    };
                    let range = self.at + 1..self.at + 1 + len;
                    if matches!(self.expect, Expect::FirstKey | Expect::Key) {
                        self.take_key(engine, range.clone(), escaped);
                        self.expect = Expect::Colon;
                    } else {
                        self.take_string(engine, range.clone(), escaped);
                        self.after_value();
                    }
                    self.at = range.end + 1;
                }
                (b':', Expect::Colon) => {
                    self.expect = Expect::Value;
                    self.at += 1;
                }
                (b',', Expect::Next) => {
                    let frame = self.frames.last_mut().expect("a comma is expected in containers alone");
                    frame.index += 1;
                    self.expect = if frame.array { Expect::Value } else { Expect::Key };
                    self.at += 1;
                }
                (b'{' | b'[', Expect::Value | Expect::FirstValue) => {
                    self.open(byte == b'[')?;
                    self.at += 1;
                }
                (b'}', Expect::Next | Expect::FirstKey) | (b']', Expect::Next | Expect::FirstValue) => {
                    let number = self.frames.len() - 1;
                    if self.frames[number].array != (byte == b']') {
                        return Err(Fault::Syntax(self.fault_at(self.at)));
                    }
                    self.at += 1;
                    self.settle(engine, number, false);
                    let frame = self.frames.pop().expect("its end was expected");
                    self.path.truncate(frame.path);
                    self.after_value();
                }
                (b'-' | b'0'..=b'9' | b't' | b'f' | b'n', Expect::Value | Expect::FirstValue) => {
                    let rest = &self.held.bytes[self.at..];
                    let len = rest
                        .iter()
                        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')));
                    let Some(len) = len.or(last.then_some(rest.len())) else {
                        // A number is short.
                        return if rest.len() > 4096 { Err(Fault::TooLong(self.fault_at(self.at))) } else { Ok(()) };
                    };
                    if !is_literal(&rest[..len]) {
                        return Err(Fault::Syntax(self.fault_at(self.at)));
                    }
                    self.at += len;
                    self.after_value();
                }
                _ => return Err(Fault::Syntax(self.fault_at(self.at))),
            }
        }
        Ok(())
    }

    fn after_value(&mut self) {
        self.expect = if self.frames.is_empty() { Expect::Value } else { Expect::Next };
    }

    /// A container begins.
    fn open(&mut self, array: bool) -> Result<(), Fault> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(Fault::Depth(self.fault_at(self.at)));
        }
        let path = self.path.len();
        let mut frame = Frame::new(array, path);
        if let Some(parent) = self.frames.last_mut() {
            if parent.array {
                if !array && parent.secret_items {
                    frame.kind = Kind::Secret;
                }
                frame.class = if array { parent.class } else { KeyClass::Plain };
                frame.auths = parent.auths;
            } else {
                let base64 = self.key == b"data";
                if !array && (base64 || self.key == b"stringData") {
                    frame.role = match parent.kind {
                        Kind::Secret => Role::SecretData { base64 },
                        Kind::Unknown => Role::Perhaps { base64 },
                        _ => Role::Plain,
                    };
                } else if !matches!(parent.role, Role::Plain) {
                    frame.role = parent.role;
                }
                frame.auths = self.key == b"auths" || parent.auths;
                frame.secret_items = array && self.key == b"items" && parent.kind == Kind::SecretList;
                if array {
                    frame.class = self.keys.classify(&self.key);
                }
            }
            if parent.array {
                self.path.extend_from_slice(format!("[{}]", parent.index).as_bytes());
            } else {
                self.path.push(b'.');
                self.path.extend_from_slice(&self.key);
            }
        }
        self.frames.push(frame);
        self.expect = if array { Expect::FirstValue } else { Expect::FirstKey };
        Ok(())
    }

    /// A string goes on beyond what may be held: its beginning becomes a placeholder, the rest goes.
    pub(super) fn swallow_string(&mut self, engine: &Engine) -> Result<(), Fault> {
        let is_value = matches!(self.expect, Expect::Value | Expect::FirstValue);
        if self.held.bytes.get(self.at) != Some(&b'"') || !is_value {
            return Err(Fault::TooLong(self.fault_at(self.at)));
        }
        let range = self.at + 1..self.held.bytes.len().min(self.at + 1 + LIMIT);
        let base64 = matches!(self.frames.last().map(|frame| frame.role), Some(Role::SecretData { base64: true }));
        let style = if base64 { Style::Base64 } else { Style::Free };
        let edit = value::placeholder(engine, &self.held.bytes, range.clone(), catalogue::HELD_TOO_LONG, style);
        // An escape that is cut here must not hide the closing quote.
        let backslashes = self.held.bytes[range.clone()].iter().rev().take_while(|byte| **byte == b'\\').count();
        self.held.change(edit, Some(String::from_utf8_lossy(&self.path).into_owned()));
        self.at = range.end;
        self.swallowing = true;
        if backslashes % 2 == 1 {
            self.skip_escaped = true;
        }
        Ok(())
    }

    /// Drops the rest of a string. Whether it ended.
    fn swallow_rest(&mut self) -> bool {
        let mut end = self.at;
        let bytes = &self.held.bytes;
        let mut found = false;
        while end < bytes.len() {
            if self.skip_escaped {
                self.skip_escaped = false;
            } else if bytes[end] == b'\\' {
                self.skip_escaped = true;
            } else if bytes[end] == b'"' {
                found = true;
                break;
            }
            end += 1;
        }
        if end > self.at {
            let range = self.at..end;
            self.held.change(value::Edit { range, with: Vec::new(), ids: Vec::new() }, None);
        }
        self.at = end;
        if found {
            self.at += 1;
            self.swallowing = false;
            self.after_value();
        }
        found
    }
}

/// `true`, `false`, `null`, a number (RFC 8259, 6).
fn is_literal(text: &[u8]) -> bool {
    if matches!(text, b"true" | b"false" | b"null") {
        return true;
    }
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || whole > 1 && rest[0] == b'0' {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = digits(fraction);
        if len == 0 {
            return false;
        }
        rest = &fraction[len..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let len = digits(exponent);
        return len > 0 && len == exponent.len();
    }
    rest.is_empty()
}
