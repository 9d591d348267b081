//! What must hold for the bytes of a connection, whatever they are.

use guard_http1::{Limits, Malformed, Requests};

const LIMITS: Limits = Limits { bytes: 512, fields: 10 };

/// `input` is a byte that says where the rest is split, and the rest.
pub(crate) fn check(input: &[u8]) {
    let Some((split, bytes)) = input.split_first() else { return };
    let whole = read([bytes]);
    let pieces = read(bytes.chunks(usize::from(*split) + 1));
    assert_eq!(whole.heads, pieces.heads);
    assert_eq!(whole.ended, pieces.ended);
    assert!(bytes.starts_with(&whole.passed) && bytes.starts_with(&pieces.passed));
    if whole.ended.is_ok() {
        assert_eq!(whole.passed, pieces.passed);
        // What does not pass is held, and waits for the rest of its head.
        assert_eq!(whole.passed.len() + whole.held, bytes.len());
        assert!(whole.held <= LIMITS.bytes);
    }
    // What has passed is well-formed by itself.
    let again = read([&whole.passed[..]]);
    assert_eq!((again.heads, again.ended, again.held), (whole.heads, Ok(()), 0));
}

struct Read {
    passed: Vec<u8>,
    heads: u64,
    held: usize,
    ended: Result<(), Malformed>,
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut requests = Requests::new(LIMITS);
    let mut passed = Vec::new();
    let ended = pieces.into_iter().try_for_each(|piece| requests.feed(piece, &mut passed));
    Read { passed, heads: requests.heads(), held: requests.held(), ended }
}
