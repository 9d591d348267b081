//! The values of literals: numbers, and strings with their escapes.

/// What a string or bytes literal holds, prefix and quotes included in `text`.
pub(super) fn unquoted(text: &str, is_bytes: bool) -> Result<Vec<u8>, &'static str> {
    let text = if is_bytes { &text[1..] } else { text };
    let (raw, text) = match text.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    // Line ends are what they are in a file with Unix line ends.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let marks = if text.len() >= 6 && (text.starts_with("\"\"\"") || text.starts_with("'''")) { 3 } else { 1 };
    let inner = &text[marks..text.len() - marks];
    if raw { Ok(inner.as_bytes().to_vec()) } else { unescaped(inner, is_bytes) }
}

fn unescaped(text: &str, is_bytes: bool) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(escape) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..escape]);
        let after = &rest[escape + 1..];
        let mut characters = after.chars();
        let mark = characters.next().ok_or("unable to unescape string, found '\\' as last character")?;
        rest = characters.as_str();
        let simple = match mark {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '\'' | '"' | '`' | '?' => u8::try_from(mark).ok(),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            continue;
        }
        let (digits, radix) = match mark {
            'x' | 'X' => (&after[1..], 2),
            'u' if !is_bytes => (&after[1..], 4),
            'U' if !is_bytes => (&after[1..], 8),
            '0'..='3' => (after, 3),
            _ => return Err("unable to unescape string"),
        };
        let octal = matches!(mark, '0'..='3');
        let number = digits.get(..radix).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = number.and_then(|digits| u32::from_str_radix(digits, if octal { 8 } else { 16 }).ok());
        let number = number.ok_or(if octal {
            "unable to unescape octal sequence in string"
        } else {
            "unable to unescape string"
        })?;
        rest = &digits[radix..];
        if is_bytes {
            // Two hexadecimal or three octal digits, the first of them at most 3.
            out.push(u8::try_from(number).map_err(|_| "unable to unescape string")?);
        } else {
            let character = char::from_u32(number).ok_or("invalid unicode code point")?;
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

pub(super) fn int(text: &str, negative: bool) -> Option<i64> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

pub(super) fn uint(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(['u', 'U']);
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    u64::from_str_radix(digits, radix).ok()
}

pub(super) fn double(text: &str, negative: bool) -> Option<f64> {
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    Some(if negative { -value } else { value })
}
