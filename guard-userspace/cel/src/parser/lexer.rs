//! Source text into tokens.

use crate::error::CompileError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Identifier,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    /// An operator, a bracket, or one of the words `in`, `true`, `false`, `null`: its text says which.
    Symbol,
    End,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'s> {
    pub(super) kind: TokenKind,
    pub(super) text: &'s str,
    /// Byte offset of its first character.
    pub(super) at: usize,
}

/// Longest first.
const SYMBOLS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%",
];

const WORDS: [&str; 4] = ["in", "true", "false", "null"];

pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, CompileError> {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let token = lexer.next()?;
        tokens.push(token);
        if token.kind == TokenKind::End {
            return Ok(tokens);
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(['\t', ' ', '\r', '\n', '\u{c}']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn next(&mut self) -> Result<Token<'s>, CompileError> {
        let rest = self.rest();
        let Some(first) = rest.bytes().next() else {
            return Ok(Token { kind: TokenKind::End, text: "<EOF>", at: self.at });
        };
        if let Some(length) = quoted(rest) {
            let length = length.map_err(|reason| self.error(reason))?;
            let kind = if matches!(first, b'b' | b'B') { TokenKind::Bytes } else { TokenKind::String };
            return Ok(self.take(kind, length));
        }
        if first.is_ascii_alphabetic() || first == b'_' {
            let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            let kind = if WORDS.contains(&&rest[..length]) { TokenKind::Symbol } else { TokenKind::Identifier };
            return Ok(self.take(kind, length));
        }
        if let Some((kind, length)) = number(rest.as_bytes()) {
            return Ok(self.take(kind, length));
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            return Ok(self.take(TokenKind::Symbol, symbol.len()));
        }
        let character = rest.chars().next().unwrap_or_default();
        Err(self.error(format!("Syntax error: token recognition error at: '{}'", character.escape_default())))
    }

    fn take(&mut self, kind: TokenKind, length: usize) -> Token<'s> {
        let token = Token { kind, text: &self.rest()[..length], at: self.at };
        self.at += length;
        token
    }

    fn error(&self, reason: impl Into<String>) -> CompileError {
        CompileError::at(self.source, self.at, reason)
    }
}

/// The length of the string or bytes literal that `rest` begins with; none if it begins with something else.
fn quoted(rest: &str) -> Option<Result<usize, &'static str>> {
    let bytes = rest.as_bytes();
    let mut prefix = usize::from(matches!(bytes[0], b'b' | b'B'));
    let raw = matches!(bytes.get(prefix), Some(b'r' | b'R'));
    prefix += usize::from(raw);
    let quote = *bytes.get(prefix).filter(|byte| matches!(byte, b'"' | b'\''))?;
    let triple = bytes.get(prefix + 1) == Some(&quote) && bytes.get(prefix + 2) == Some(&quote);
    let mut at = prefix + if triple { 3 } else { 1 };
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if !raw => at += 2,
            b'\n' | b'\r' if !triple => return Some(Err("Syntax error: a string ends on the line where it begins")),
            byte if *byte == quote && !triple => return Some(Ok(at + 1)),
            byte if *byte == quote && bytes[at..].starts_with(&[quote; 3]) => return Some(Ok(at + 3)),
            _ => at += 1,
        }
    }
    Some(Err("Syntax error: a string without end"))
}

fn number(bytes: &[u8]) -> Option<(TokenKind, usize)> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if bytes.starts_with(b"0x") {
        let hex = bytes[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if hex > 0 {
            return Some(with_unsigned_mark(bytes, 2 + hex));
        }
    }
    let whole = digits(0);
    let fraction = if bytes.get(whole) == Some(&b'.') { digits(whole + 1) } else { 0 };
    if whole == 0 && fraction == 0 {
        return None;
    }
    let mut end = if fraction > 0 { whole + 1 + fraction } else { whole };
    let mut is_double = fraction > 0;
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = bytes.get(end + 1 + sign).map_or(0, |_| digits(end + 1 + sign));
        if exponent > 0 {
            end += 1 + sign + exponent;
            is_double = true;
        }
    }
    Some(if is_double { (TokenKind::Double, end) } else { with_unsigned_mark(bytes, end) })
}

fn with_unsigned_mark(bytes: &[u8], end: usize) -> (TokenKind, usize) {
    if matches!(bytes.get(end), Some(b'u' | b'U')) { (TokenKind::Uint, end + 1) } else { (TokenKind::Int, end) }
}
