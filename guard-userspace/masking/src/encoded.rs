//! Base64, in both alphabets, without a copy where none is needed.

/// Six bits of a character, or 255. Both alphabets at once.
const SIXTETS: [u8; 256] = {
    let mut table = [255; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut at, mut value) = (0, 0);
    while at < 64 {
        table[alphabet[at] as usize] = value;
        value += 1;
        at += 1;
    }
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
};

pub(crate) const fn is_base64(byte: u8) -> bool {
    SIXTETS[byte as usize] != 255
}

/// Decodes a run of base64 characters. A last single character is no byte: none of its bits count.
pub(crate) fn decode(run: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(run.len() / 4 * 3 + 3);
    for group in run.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(SIXTETS[usize::from(*byte)]))
            << (6 * (4 - group.len()));
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend_from_slice(&bytes[..group.len() * 6 / 8]);
    }
    out
}

/// Encodes as `run` was encoded: its alphabet, and padding if it had any.
pub(crate) fn encode_like(run: &[u8], padded: bool, bytes: &[u8], out: &mut Vec<u8>) {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    let url_safe = run.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = match (url_safe, padded) {
        (false, true) => &STANDARD,
        (false, false) => &STANDARD_NO_PAD,
        (true, true) => &URL_SAFE,
        (true, false) => &URL_SAFE_NO_PAD,
    };
    out.extend_from_slice(engine.encode(bytes).as_bytes());
}

const fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')
}

/// Characters by which is told whether a run may be text.
const PROBE: usize = 16;

/// Whether this run, or one that begins like it, may be text or gzip in base64.
pub(crate) fn may_be_text(run: &[u8]) -> bool {
    let probe = &run[..run.len().min(PROBE)];
    let gzip = b"H4sI";
    if probe[..probe.len().min(4)] == gzip[..probe.len().min(4)] {
        return true;
    }
    let whole = probe.len() / 4 * 4;
    for group in probe[..whole].chunks_exact(4) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(SIXTETS[usize::from(*byte)]));
        let [_, bytes @ ..] = bits.to_be_bytes();
        if !bytes.iter().all(|byte| is_text(*byte)) {
            return false;
        }
    }
    let rest = &probe[whole..];
    let sixtet = |at: usize| SIXTETS[usize::from(rest[at])];
    // The bits that are known must leave a byte of text possible.
    let possible = |known: u8, bits: u32| (0..1_u8 << bits).any(|low| is_text(known | low));
    match rest.len() {
        0 => true,
        1 => possible(sixtet(0) << 2, 2),
        2 => is_text(sixtet(0) << 2 | sixtet(1) >> 4) && possible(sixtet(1) << 4, 4),
        _ => {
            is_text(sixtet(0) << 2 | sixtet(1) >> 4)
                && is_text(sixtet(1) << 4 | sixtet(2) >> 2)
                && possible(sixtet(2) << 6, 6)
        }
    }
}

/// Whether bytes are text throughout: UTF-8 without control characters.
pub(crate) fn is_text_throughout(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_text(*byte) || *byte >= 0x80) && std::str::from_utf8(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        for text in ["", "a", "ab", "abc", "password=x\n", "ü"] {
            let run = STANDARD_NO_PAD.encode(text);
            assert_eq!(decode(run.as_bytes()), text.as_bytes());
            let mut again = Vec::new();
            encode_like(run.as_bytes(), true, text.as_bytes(), &mut again);
            assert_eq!(again, STANDARD.encode(text).as_bytes());
        }
    }

    #[test]
    fn the_beginning_of_text_may_be_text_wherever_it_is_cut() {
        let run = STANDARD_NO_PAD.encode("user: a\npassword: b");
        for end in 0..run.len() {
            assert!(may_be_text(&run.as_bytes()[..end]), "{end}");
        }
        assert!(!may_be_text(b"ls"));
        assert!(!may_be_text(b"kubernetes"));
    }
}
