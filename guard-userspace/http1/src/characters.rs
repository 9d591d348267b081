//! Which bytes may stand where.

/// RFC 9110, 5.6.2: what methods and names of headers are made of.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let character = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(character)
}

/// Whether a header's value is printable ASCII, spaces and tabs. RFC 9110 (5.5) lets bytes above 127 stand for old encodings; what
/// they mean is every reader's guess.
pub fn is_plain_value(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// Whether a request target is a path with or without a query, and everything that would be read otherwise is percent-encoded.
pub fn is_path(target: &[u8]) -> bool {
    // RFC 3986 has none of the named ones; clients that do not encode the others (`{`, `|`) are common, and read alike.
    let character = |byte: &u8| matches!(byte, b'!'..=b'~') && !b"\"#<>`\\".contains(byte);
    target.first() == Some(&b'/') && target.iter().all(character)
}

/// Whether it is a host with or without a port (RFC 9110, 7.2): no user information, nothing percent-encoded.
pub fn is_host(value: &[u8]) -> bool {
    let character = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    !value.is_empty() && value.iter().all(character)
}

/// Without spaces and tabs around.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
