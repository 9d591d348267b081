//! HTTP/2 frames as an attacker writes them (RFC 9113, 4.1): whatever they say.

use std::collections::BTreeMap;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

/// One frame. Its payload has less than 16 MiB.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a client begins with.
pub(super) fn preface() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A request's header block, without compression (RFC 7541, 6.2.2).
pub(super) fn head(method: &str, path: &str, token: &str) -> Vec<u8> {
    // `:scheme: https` of the static table.
    let mut block = vec![0x87];
    let bearer = format!("Bearer {token}");
    // `:method`, `:path`, `:authority`, `authorization` by their names' places in it.
    for (name, value) in [(2, method), (4, path), (1, "kubernetes.default.svc"), (23, &*bearer)] {
        integer(&mut block, 0, 4, name);
        integer(&mut block, 0, 7, value.len());
        block.extend(value.as_bytes());
    }
    block
}

/// RFC 7541, 5.1.
fn integer(into: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    let byte = |value: usize| u8::try_from(value & 0xff).expect("eight bits");
    if value < most {
        into.push(pattern | byte(value));
        return;
    }
    into.push(pattern | byte(most));
    let mut rest = value - most;
    while rest >= 0x80 {
        into.push(byte(rest | 0x80));
        rest >>= 7;
    }
    into.push(byte(rest));
}

/// What a server has said, as far as it is a refusal.
#[derive(Default)]
pub(super) struct Heard {
    bytes: Vec<u8>,
    /// Error codes of GOAWAY, and how often.
    pub(super) goaways: BTreeMap<u32, u64>,
    /// Streams reset with `REFUSED_STREAM`.
    pub(super) refused_streams: u64,
}

impl Heard {
    /// Takes what was read.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while let Some((kind, payload)) = self.next() {
            let code = |at: usize| {
                let code = payload.get(at..at + 4).and_then(|code| code.try_into().ok());
                code.map_or(0, u32::from_be_bytes)
            };
            if kind == GOAWAY {
                *self.goaways.entry(code(4)).or_default() += 1;
            } else if kind == RST_STREAM && code(0) == REFUSED_STREAM {
                self.refused_streams += 1;
            }
        }
    }

    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let (head, rest) = self.bytes.split_first_chunk::<HEAD>()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = rest.get(..length)?.to_vec();
        let kind = head[3];
        self.bytes.drain(..HEAD + length);
        Some((kind, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_the_rfc() {
        let encoded = |bits, value| {
            let mut bytes = Vec::new();
            integer(&mut bytes, 0, bits, value);
            bytes
        };
        // RFC 7541, C.1.
        assert_eq!(encoded(5, 10), [10]);
        assert_eq!(encoded(5, 1337), [31, 154, 10]);
        assert_eq!(encoded(8, 42), [42]);
    }

    #[test]
    fn refusals_are_heard_wherever_the_bytes_are_split() {
        let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11]);
        let bytes =
            [frame(SETTINGS, 0, 0, &[]), frame(RST_STREAM, 0, 5, &REFUSED_STREAM.to_be_bytes()), goaway].concat();
        let mut heard = Heard::default();
        for byte in bytes {
            heard.feed(&[byte]);
        }
        assert_eq!((heard.goaways.get(&11), heard.refused_streams), (Some(&1), 1));
    }
}
