//! Where HTTP/2's frames begin and end (RFC 9113, 4.1): enough to count them, none of their meaning.

/// Bytes before a client's first frame (RFC 9113, 3.4).
const PREFACE: usize = 24;
const HEAD: usize = 9;
/// Bytes of a payload that are looked at: up to the error code of GOAWAY.
const START: usize = 8;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;
/// Of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 1;
/// Of HEADERS and CONTINUATION.
pub(super) const END_HEADERS: u8 = 4;

/// One direction of a connection, fed as it comes.
pub(super) struct Frames {
    /// Bytes to pass before the next frame.
    pass: usize,
    begun: [u8; HEAD + START],
    /// How many of `begun` are there.
    have: usize,
}

/// A frame that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Of its payload, in bytes.
    pub(super) length: usize,
    /// The payload's first bytes, then zeros.
    start: [u8; START],
}

impl Frames {
    /// What a client sends.
    pub(super) fn of_client() -> Self {
        Self { pass: PREFACE, begun: [0; HEAD + START], have: 0 }
    }

    /// What a server sends.
    pub(super) fn of_server() -> Self {
        Self { pass: 0, ..Self::of_client() }
    }

    /// Shows `each` every frame whose head, and the payload's first bytes, are complete with these bytes.
    pub(super) fn feed<E>(&mut self, mut bytes: &[u8], mut each: impl FnMut(&Frame) -> Result<(), E>) -> Result<(), E> {
        loop {
            let passed = self.pass.min(bytes.len());
            self.pass -= passed;
            bytes = &bytes[passed..];
            if bytes.is_empty() {
                return Ok(());
            }
            let wanted = (self.wanted() - self.have).min(bytes.len());
            self.begun[self.have..self.have + wanted].copy_from_slice(&bytes[..wanted]);
            self.have += wanted;
            bytes = &bytes[wanted..];
            if self.have >= HEAD && self.have == self.wanted() {
                let frame = self.frame();
                self.pass = frame.length.saturating_sub(START);
                self.begun = [0; HEAD + START];
                self.have = 0;
                each(&frame)?;
            }
        }
    }

    /// Whether all frames so far are complete.
    pub(super) fn at_boundary(&self) -> bool {
        self.pass == 0 && self.have == 0
    }

    fn wanted(&self) -> usize {
        if self.have < HEAD { HEAD } else { HEAD + self.length().min(START) }
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.begun;
        usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
    }

    fn frame(&self) -> Frame {
        let [_, _, _, kind, flags, s1, s2, s3, s4, start @ ..] = self.begun;
        let stream = u32::from_be_bytes([s1, s2, s3, s4]) & 0x7fff_ffff;
        Frame { kind, flags, stream, length: self.length(), start }
    }
}

impl Frame {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Of `RST_STREAM` or GOAWAY (RFC 9113, 7).
    pub(super) fn error_code(&self) -> u32 {
        let (first, second) = self.start.split_at(START / 2);
        let code = if self.kind == GOAWAY { second } else { first };
        code.iter().fold(0, |code, byte| code << 8 | u32::from(*byte))
    }
}

/// GOAWAY for a connection whose client has begun no later stream than `last`.
pub(super) fn goaway(last: u32, code: u32, why: &str) -> Vec<u8> {
    let length = u8::try_from(START + why.len()).unwrap_or(u8::MAX);
    let why = &why.as_bytes()[..usize::from(length) - START];
    let head = [0, 0, length, GOAWAY, 0, 0, 0, 0, 0];
    [&head[..], &last.to_be_bytes(), &code.to_be_bytes(), why].concat()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn fed(pieces: &[&[u8]]) -> (Vec<(u8, u8, u32, usize)>, bool) {
        let (mut frames, mut seen) = (Frames::of_client(), Vec::new());
        for piece in pieces {
            let fed: Result<(), Infallible> = frames.feed(piece, |frame| {
                seen.push((frame.kind, frame.flags, frame.stream, frame.length));
                Ok(())
            });
            fed.unwrap();
        }
        (seen, frames.at_boundary())
    }

    #[test]
    fn frames_are_the_same_wherever_they_are_split() {
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, &[7; 300]),
            frame(DATA, 0, 1, b"x"),
            frame(6, 0, 0, &[1; 8]),
            frame(DATA, END_STREAM, 1, &[0; 9]),
        ]
        .concat();
        let whole = fed(&[&bytes]);
        let kinds: Vec<_> = whole.0.iter().map(|frame| (frame.0, frame.3)).collect();
        assert_eq!(kinds, [(4, 0), (HEADERS, 300), (DATA, 1), (6, 8), (DATA, 9)]);
        assert!(whole.1);
        for at in 0..bytes.len() {
            assert_eq!(fed(&[&bytes[..at], &bytes[at..]]), whole, "split at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(fed(&single), whole);
        assert!(!fed(&[&bytes[..bytes.len() - 1]]).1);
    }

    #[test]
    fn why_something_ended_is_read() {
        let mut frames = Frames::of_server();
        let bytes = [frame(RST_STREAM, 0, 5, &7_u32.to_be_bytes()), goaway(5, 11, "frames")].concat();
        let mut codes = Vec::new();
        let fed: Result<(), Infallible> = frames.feed(&bytes, |frame| {
            codes.push((frame.kind, frame.error_code()));
            Ok(())
        });
        fed.unwrap();
        assert_eq!(codes, [(RST_STREAM, 7), (GOAWAY, 11)]);
        assert!(frames.at_boundary());
    }
}
