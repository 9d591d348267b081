//! The request target, as Go's `net/url` reads it (`ParseRequestURI`, `ParseQuery`; Go 1.26), less what is ambiguous.

use crate::MAX_TARGET_LEN;
use crate::error::DescribeError;

/// Go reads no query of more than 10,000 parameters, and then acts as if there were none.
const MAX_PARAMETERS: usize = 1_000;

/// Path and query, percent-decoded.
pub(crate) struct Target {
    pub(crate) path: String,
    query: Query,
}

/// The parameters in their order. Names and values that are no UTF-8 are kept: nobody may ask for them.
struct Query(Vec<(Vec<u8>, Vec<u8>)>);

/// What `+` stands for.
#[derive(Clone, Copy)]
enum Plus {
    Plus,
    Space,
}

impl Target {
    pub(crate) fn parse(path_and_query: &str) -> Result<Self, DescribeError> {
        if path_and_query.len() > MAX_TARGET_LEN {
            return Err(DescribeError::TooLong);
        }
        if !path_and_query.starts_with('/') {
            return Err(DescribeError::NotOriginForm);
        }
        if path_and_query.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
            return Err(DescribeError::ForbiddenCharacter);
        }
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Ok(Self { path: decode_path(path)?, query: Query::parse(query)? })
    }

    /// Whether there are no parameters at all.
    pub(crate) fn has_no_parameters(&self) -> bool {
        self.query.0.is_empty()
    }

    /// Every value of the parameter `name`.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = Result<&str, DescribeError>> {
        self.query.0.iter().filter(move |(key, _)| key == name.as_bytes()).map(|(_, value)| text(value))
    }

    /// First value of the parameter `name`; Kubernetes ignores the others.
    pub(crate) fn parameter(&self, name: &str) -> Result<Option<&str>, DescribeError> {
        let first = self.query.0.iter().find(|(key, _)| key == name.as_bytes());
        first.map(|(_, value)| text(value)).transpose()
    }
}

impl Query {
    fn parse(query: &str) -> Result<Self, DescribeError> {
        if query.contains(';') {
            return Err(DescribeError::Semicolon);
        }
        let pairs: Vec<&str> = query.split('&').take(MAX_PARAMETERS + 1).collect();
        if pairs.len() > MAX_PARAMETERS {
            return Err(DescribeError::TooManyParameters);
        }
        let decoded = pairs.into_iter().filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((percent_decode(name, Plus::Space)?, percent_decode(value, Plus::Space)?))
        });
        decoded.collect::<Result<_, _>>().map(Self)
    }
}

fn decode_path(path: &str) -> Result<String, DescribeError> {
    let decoded = percent_decode(path, Plus::Plus)?;
    let decoded = text(&decoded)?;
    if decoded.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(DescribeError::DotSegment);
    }
    Ok(decoded.to_owned())
}

fn text(bytes: &[u8]) -> Result<&str, DescribeError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(DescribeError::NotText),
    }
}

fn percent_decode(encoded: &str, plus: Plus) -> Result<Vec<u8>, DescribeError> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        decoded.push(match (byte, plus) {
            (b'%', _) => hex_digit(rest.next())? << 4 | hex_digit(rest.next())?,
            (b'+', Plus::Space) => b' ',
            (literal, _) => literal,
        });
    }
    Ok(decoded)
}

fn hex_digit(byte: Option<&u8>) -> Result<u8, DescribeError> {
    match byte {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(digit @ b'a'..=b'f') => Ok(digit - b'a' + 10),
        Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
        _ => Err(DescribeError::PercentEncoding),
    }
}
