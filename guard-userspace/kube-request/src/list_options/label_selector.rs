//! Label selectors, as far as to tell valid from invalid (`k8s.io/apimachinery/pkg/labels`, `Parse`).
//!
//! Whether one is valid decides whether Kubernetes honours the other parameters of the request.

/// Longest name part of a label key, and longest label value, in bytes.
const MAX_LABEL_LEN: usize = 63;
/// Longest prefix of a label key (a DNS subdomain, RFC 1123), in bytes.
const MAX_PREFIX_LEN: usize = 253;

/// One word of the grammar. `in` and `notin` are words like any other except where an operator is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'a str),
    End,
}

/// The tokens, one at a time. After the end there is only the end.
struct Tokens<'a> {
    rest: &'a str,
}

/// What a requirement's value must be.
enum Values {
    Set,
    Exact,
    Integer,
}

pub(super) fn is_valid(selector: &str) -> bool {
    let mut tokens = Tokens { rest: selector };
    if tokens.peek() == Token::End {
        return true;
    }
    loop {
        if requirement(&mut tokens).is_none() {
            return false;
        }
        match tokens.next() {
            Token::End => return true,
            Token::Symbol(",") => {}
            _ => return false,
        }
    }
}

/// `key`, `!key`, `key OPERATOR value`. `None`: invalid.
fn requirement(tokens: &mut Tokens<'_>) -> Option<()> {
    let negated = tokens.skip("!");
    let Token::Word(key) = tokens.next() else {
        return None;
    };
    if !is_label_key(key) {
        return None;
    }
    if negated || matches!(tokens.peek(), Token::End | Token::Symbol(",")) {
        return Some(());
    }
    match operator(tokens.next())? {
        Values::Set => value_set(tokens),
        Values::Exact => exact_value(tokens).filter(|value| is_label_value(value)).map(drop),
        Values::Integer => {
            exact_value(tokens).filter(|value| is_label_value(value) && value.parse::<i64>().is_ok()).map(drop)
        }
    }
}

fn operator(token: Token<'_>) -> Option<Values> {
    match token {
        Token::Word("in" | "notin") => Some(Values::Set),
        Token::Symbol("=" | "==" | "!=") => Some(Values::Exact),
        Token::Symbol(">" | "<") => Some(Values::Integer),
        _ => None,
    }
}

/// `(a,b)`; each value may be missing: `()`, `(,a)`, `(a,)`.
fn value_set(tokens: &mut Tokens<'_>) -> Option<()> {
    if !tokens.skip("(") {
        return None;
    }
    loop {
        if let Token::Word(value) = tokens.peek() {
            if !is_label_value(value) {
                return None;
            }
            tokens.next();
        }
        match tokens.next() {
            Token::Symbol(")") => return Some(()),
            Token::Symbol(",") => {}
            _ => return None,
        }
    }
}

/// A word, or nothing before a comma or the end.
fn exact_value<'a>(tokens: &mut Tokens<'a>) -> Option<&'a str> {
    match tokens.peek() {
        Token::End | Token::Symbol(",") => Some(""),
        Token::Word(value) => {
            tokens.next();
            Some(value)
        }
        Token::Symbol(_) => None,
    }
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> Token<'a> {
        Tokens { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        let start = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let len = match start.as_bytes() {
            [] => 0,
            [b'=' | b'!', b'=', ..] => 2,
            [b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<', ..] => 1,
            _ => start.find([' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<']).unwrap_or(start.len()),
        };
        let (token, rest) = start.split_at(len);
        self.rest = rest;
        match token.as_bytes() {
            [] => Token::End,
            [b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<', ..] => Token::Symbol(token),
            _ => Token::Word(token),
        }
    }

    fn skip(&mut self, symbol: &str) -> bool {
        let found = self.peek() == Token::Symbol(symbol);
        if found {
            self.next();
        }
        found
    }
}

fn is_label_key(key: &str) -> bool {
    let name = match key.split_once('/') {
        Some((prefix, name)) if is_dns_subdomain(prefix) => name,
        Some(_) => return false,
        None => key,
    };
    !name.is_empty() && is_label_value(name)
}

/// Empty, or letters, digits, `-`, `_` and `.` with a letter or digit at both ends.
fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.len() <= MAX_LABEL_LEN
        && [bytes.first(), bytes.last()].into_iter().flatten().all(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_dns_subdomain(prefix: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
    };
    prefix.len() <= MAX_PREFIX_LEN && prefix.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_parses_is_valid() {
        for selector in [
            "",
            "  ",
            "a",
            "!a",
            "a=b",
            "a==b",
            "a != b",
            "a=",
            "a=,b=",
            "a in (b,c)",
            "a notin ()",
            "a in (,)",
            "a in (b,)",
            "a in (,b)",
            "in in (in,notin)",
            "in",
            "a=in",
            "a>5",
            "a<9223372036854775807",
            "example.com/a,!b , c=d",
            "a in(b),c",
        ] {
            assert!(is_valid(selector), "{selector:?}");
        }
    }

    #[test]
    fn what_kubernetes_refuses_is_invalid() {
        for selector in [
            ",",
            "a,",
            ",a",
            "a,,b",
            "!",
            "!!a",
            "!a=b",
            "=",
            "a===b",
            "a=b=c",
            "a b",
            "a in",
            "a in b",
            "a in (b",
            "a in (b c)",
            "a in (b,(",
            "a>b",
            "a>",
            "a>-1",
            "a=-b",
            "a=b/c",
            "-a",
            "a/",
            "/a",
            "a/b/c",
            "A.com/a",
            "a.-b/c",
            "ä=b",
            "a=(b)",
            "a>9223372036854775808",
            "a\u{b}",
        ] {
            assert!(!is_valid(selector), "{selector:?}");
        }
    }
}
