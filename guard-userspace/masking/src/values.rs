//! Whether a value looks like a secret: stop lists, randomness, check digits.

/// A reference, a template, a type, a mask or nothing: never a secret.
#[allow(clippy::too_many_lines, reason = "lists, a word a line as they are formatted")]
pub(crate) fn is_no_value(value: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "true",
        "false",
        "null",
        "nil",
        "none",
        "undefined",
        "string",
        "str",
        "bytes",
        "object",
        "integer",
        "number",
        "boolean",
        "bool",
        "opaque",
        "required",
        "optional",
        "redacted",
        "masked",
        "hidden",
        "removed",
        "empty",
        "unset",
        "not",
        "n/a",
        "yes",
        "no",
        "on",
        "off",
        "default",
        "auto",
        "basic",
        "bearer",
        "enabled",
        "disabled",
        "example",
        "placeholder",
        "omitted",
        "secret",
        "password",
        "token",
        "base64",
        "any",
        "changed",
        "expired",
        "invalid",
        "valid",
        "missing",
        "failed",
        "incorrect",
        "wrong",
        "is",
        "was",
        "for",
        "and",
        "or",
        "must",
        "file",
        "env",
        "<nil>",
        "<none>",
        "<unset>",
        "<set>",
        "{}",
        "[]",
        "null,",
        "self",
        "plain",
        "plaintext",
        "sha256",
        "md5",
        "text",
        "unknown",
        "<hidden>",
        "...",
    ];
    let Some((first, rest)) = value.split_first() else { return true };
    if WORDS.iter().any(|word| word.len() == value.len() && word.as_bytes().eq_ignore_ascii_case(value)) {
        return true;
    }
    // Masks: one character throughout.
    if value.len() >= 3 && (rest.iter().all(|byte| byte == first) || is_mask(value)) {
        return true;
    }
    if value.starts_with(b"<guard:") || value.starts_with(b"guard.") {
        return true;
    }
    match first {
        b'$' => variable(rest),
        b'{' => value.starts_with(b"{{") || value.ends_with(b"}"),
        b'<' => value.ends_with(b">"),
        b'[' => value.ends_with(b"]"),
        b'%' => {
            (value.ends_with(b"%") && value.len() > 2)
                || value == b"%s"
                || value == b"%v"
                || value == b"%q"
                || value.starts_with(b"%(")
        }
        b'/' => {
            rest.contains(&b'/')
                && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(byte))
                && !random_path(rest)
        }
        b'*' => true,
        _ => {
            const STARTS: &[&str] = &[
                "file:",
                "env:",
                "vault:",
                "op://",
                "ref+",
                "arn:aws:",
                "secretKeyRef",
                "os.environ",
                "os.getenv",
                "process.env",
                "xxxx",
                "XXXX",
                "your-",
                "your_",
                "YOUR_",
                "YOUR-",
                "ENC[",
                "sealed:",
                "-----BEGIN PUBLIC",
                "-----BEGIN CERT",
                "gsm://",
                "kms://",
                "awssm://",
                "projects/",
                "secretsmanager:",
                "ssm:/",
                "valueFrom",
                "config.",
                "settings.",
                "var.",
                "local.",
                "data.",
            ];
            STARTS.iter().any(|start| value.starts_with(start.as_bytes())) || value.ends_with(b"()") || is_call(value)
        }
    }
}

/// Characters of masks alone, or a few letters with a mask behind.
fn is_mask(value: &[u8]) -> bool {
    let masked = value.iter().filter(|byte| matches!(byte, b'*' | b'.' | b'x' | b'X' | b'#' | b'-' | b'_')).count();
    masked == value.len()
        || (masked * 4 >= value.len() * 3 && value.iter().filter(|byte| matches!(byte, b'*')).count() >= 3)
        || value.ends_with(b"****")
}

/// `$NAME`, `${NAME}`, `$(command)`. A password may begin with a dollar sign too.
fn variable(rest: &[u8]) -> bool {
    match rest.first() {
        Some(b'{' | b'(') | None => true,
        Some(_) => rest.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_'),
    }
}

/// `getenv("X")`, `lookup(…)`: source code.
fn is_call(value: &[u8]) -> bool {
    let Some(open) = value.iter().position(|byte| *byte == b'(') else { return false };
    open > 2
        && value[..open].iter().all(|byte| byte.is_ascii_alphanumeric() || b"._:".contains(byte))
        && value[open..].contains(&b')')
}

fn random_path(path: &[u8]) -> bool {
    // Forty characters of base64 may hold a slash; paths are made of words.
    path.len() == 39 && path.iter().filter(|byte| byte.is_ascii_digit()).count() >= 3
}

/// Bits of entropy per byte, by the bytes' own frequencies.
pub(crate) fn entropy(value: &[u8]) -> f32 {
    let mut counts = [0_u16; 256];
    for byte in value.iter().take(256) {
        counts[usize::from(*byte)] += 1;
    }
    let len = f32::from(u16::try_from(value.len().min(256)).expect("at most 256"));
    counts.iter().filter(|count| **count > 0).map(|count| f32::from(*count) / len).map(|part| -part * part.log2()).sum()
}

/// What a generator made, not a person: long enough, of several kinds of characters, no names or words.
pub(crate) fn looks_random(value: &[u8]) -> bool {
    if value.len() < 8 || value.contains(&b' ') {
        return false;
    }
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let upper = value.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    let lower = value.iter().filter(|byte| byte.is_ascii_lowercase()).count();
    if digits == value.len() || (digits + upper == 0 && value.len() < 24) || is_name(value) {
        return false;
    }
    let kinds = usize::from(digits > 0)
        + usize::from(upper > 0)
        + usize::from(lower > 0)
        + usize::from(digits + upper + lower < value.len());
    let needed = if value.len() >= 20 { 3.0 } else { 2.5 };
    kinds >= 2 && entropy(value) >= needed && !is_camel_words(value)
}

/// Names of objects, hosts, images, paths: short lower-case words joined by `-`, `.`, `/`, `_`, `:`.
pub(crate) fn is_name(value: &[u8]) -> bool {
    let joined = value.iter().any(|byte| b"-./_:@".contains(byte));
    let mixed = value.iter().any(u8::is_ascii_uppercase)
        && value.iter().any(u8::is_ascii_lowercase)
        && value.iter().any(u8::is_ascii_digit);
    joined
        && !mixed
        && value.split(|byte| b"-./_:@".contains(byte)).all(|part| {
            let digits = part.iter().filter(|byte| byte.is_ascii_digit()).count();
            let one_case = !part.iter().any(u8::is_ascii_uppercase)
                || !part.iter().any(u8::is_ascii_lowercase)
                || part[1..].iter().all(|byte| !byte.is_ascii_uppercase());
            let readable = digits == 0 && part.len() <= 14 && (part.len() <= 4 || has_vowels(part));
            // `v1`, `web2`, `2024`, and the random ends of pods' names.
            let short = part.len() <= 5
                || (digits <= 2 && part.len() <= 12 && part[..part.len() - digits].iter().all(u8::is_ascii_alphabetic))
                || (digits == part.len() && part.len() <= 8)
                || (part.len() <= 10 && !value.contains(&b'_') && is_hash_like(part));
            part.is_empty() || (one_case && (readable || short))
        })
}

/// Kubernetes' safe alphabet for generated names.
fn is_hash_like(part: &[u8]) -> bool {
    part.iter().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(byte)) || part.iter().all(u8::is_ascii_hexdigit)
}

fn has_vowels(part: &[u8]) -> bool {
    let vowels = part.iter().filter(|byte| b"aeiouyAEIOUY".contains(byte)).count();
    vowels * 6 >= part.len()
}

/// `ServiceAccountToken`, `MyClassName`: words in camel case without digits.
fn is_camel_words(value: &[u8]) -> bool {
    if !value.iter().all(u8::is_ascii_alphabetic) {
        return false;
    }
    let upper = value.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    upper * 4 <= value.len() && has_vowels(value)
}

/// Sentences: what a description or a message holds.
pub(crate) fn is_prose(value: &[u8]) -> bool {
    let words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (mut all, mut plain) = (0, 0);
    for word in words {
        all += 1;
        let core = word.strip_suffix(b".").or_else(|| word.strip_suffix(b",")).unwrap_or(word);
        plain += usize::from(core.iter().all(|byte| byte.is_ascii_alphabetic() || b"'-()`\"/".contains(byte)));
    }
    all >= 2 && plain * 4 >= all * 3 && (value[0].is_ascii_uppercase() || value.ends_with(b".") || all >= 5)
}

/// Luhn's check digit, ISO/IEC 7812-1 annex B. `digits` are ASCII digits.
pub(crate) fn luhn(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0') << (place % 2);
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The random part of a token: not all alike, no example, no keyboard row.
pub(crate) fn is_token_body(body: &[u8]) -> bool {
    const STOP: &[&[u8]] = &[
        b"example",
        b"xxxxxx",
        b"your_",
        b"your-",
        b"yourtoken",
        b"placeholder",
        b"redacted",
        b"insert",
        b"0000000000",
        b"1234567890abcdef1234567890",
        b"abcdefghijklmnopqrstuvwxyz",
        b"aaaaaaaa",
        b"changeme",
        b"dummy",
        b"......",
        b"______",
    ];
    let mut distinct = 0_u128;
    for byte in body {
        distinct |= 1_u128.checked_shl(u32::from(*byte)).unwrap_or(0);
    }
    let needed = match body.len() {
        0..4 => 0,
        4..12 => 3,
        12..20 => 5,
        _ => 7,
    };
    distinct.count_ones() >= needed && !STOP.iter().any(|stop| contains_folded(body, stop))
}

/// Whether `text` has `needle`, which is lower-case.
pub(crate) fn contains_folded(text: &[u8], needle: &[u8]) -> bool {
    text.len() >= needle.len() && text.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_masks_are_no_values() {
        for value in [
            "",
            "${DB_PASSWORD}",
            "$(cat x)",
            "$PASSWORD",
            "{{ .Values.password }}",
            "<password>",
            "********",
            "xxxxxxxx",
            "true",
            "String",
            "/run/secrets/db",
            "os.environ",
            "getPassword()",
            "[REDACTED]",
        ] {
            assert!(is_no_value(value.as_bytes()), "{value}");
        }
        for value in
            ["hunter2", "$ecret1", "correct horse", "changeme", "P@ss/w0rd", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzz93kLm1"]
        {
            assert!(!is_no_value(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn names_are_not_random() {
        for value in [
            "default/my-secret",
            "web-7d4b9c6f5-x2x7k",
            "my-app-token",
            "kube-system",
            "registry.example.com/app:v1.2",
            "ServiceAccountToken",
            "12345678",
        ] {
            assert!(!looks_random(value.as_bytes()), "{value}");
        }
        for value in ["k3J9xQ2mZ8pL", "9f86d081884c7d659a2feaa0c55ad015", "Zx9-Qw8-Er7-Ty6", "a1b2c3d4e5f6g7h8"] {
            assert!(looks_random(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn luhn_tells_a_card_from_a_number() {
        assert!(luhn("4111111111111111".bytes()));
        assert!(!luhn("4111111111111112".bytes()));
    }
}
