//! Which bytes pass as requests, and why the others do not.

use guard_http1::{Limits, Malformed, Requests};
use proptest::prelude::*;

mod hostile;

const LIMITS: Limits = Limits { bytes: 4096, fields: 20 };

/// What passed of bytes that come at once, and the error.
fn read(bytes: &[u8]) -> (Vec<u8>, u64, Option<Malformed>) {
    read_in_pieces(&[bytes])
}

fn read_in_pieces(pieces: &[&[u8]]) -> (Vec<u8>, u64, Option<Malformed>) {
    let mut requests = Requests::new(LIMITS);
    let mut passed = Vec::new();
    for piece in pieces {
        if let Err(malformed) = requests.feed(piece, &mut passed) {
            return (passed, requests.heads(), Some(malformed));
        }
    }
    (passed, requests.heads(), None)
}

#[test]
fn what_kubernetes_clients_send_passes_unchanged() {
    for (name, bytes) in hostile::WELL_FORMED {
        let (passed, _, malformed) = read(bytes);
        assert_eq!(malformed, None, "{name}");
        assert_eq!(passed, *bytes, "{name}");
    }
}

#[test]
fn what_two_readers_could_read_differently_does_not_pass() {
    for (name, bytes, reason) in hostile::MALFORMED {
        let (passed, heads, malformed) = read(bytes);
        assert_eq!(malformed.map(Malformed::reason), Some(*reason), "{name}");
        assert!(passed.is_empty() && heads == 0, "{name}: {}", String::from_utf8_lossy(&passed));
    }
}

#[test]
fn a_body_whose_framing_breaks_does_not_go_on() {
    for (name, chunks, reason) in hostile::BROKEN_CHUNKS {
        let head = b"POST /api HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = [&head[..], chunks].concat();
        let (passed, _, malformed) = read(&bytes);
        assert_eq!(malformed.map(Malformed::reason), Some(*reason), "{name}");
        assert_eq!(passed, head, "{name}");
    }
}

#[test]
fn requests_that_follow_one_another_are_told_apart() {
    let post = b"POST /a HTTP/1.1\r\nHost: k\r\nContent-Length: 3\r\n\r\nabc";
    let chunked =
        b"POST /b HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nGET\r\n00\r\nX-Sum: 1\r\n\r\n";
    let get = b"GET /c HTTP/1.1\r\nHost: k\r\n\r\n";
    let all = [&post[..], chunked, get].concat();
    assert_eq!(read(&all), (all.clone(), 3, None));
    // The fourth is malformed: the three before are not touched by that.
    let more = [&all[..], b"GET /d HTTP/1.1\r\nHost : k\r\n\r\n"].concat();
    assert_eq!(read(&more), (all, 3, Some(Malformed::FieldName)));
}

#[test]
fn what_follows_an_upgrade_is_no_http() {
    let upgrade = b"GET /a HTTP/1.1\r\nHost: k\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let all = [&upgrade[..], b"\x81\x05\0\0\nGET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(read(&all), (all.clone(), 1, None));
}

#[test]
fn nothing_of_a_head_passes_before_its_end() {
    let mut requests = Requests::new(LIMITS);
    let mut passed = Vec::new();
    requests.feed(b"GET / HTTP/1.1\r\nHost: k\r\n\r", &mut passed).unwrap();
    assert!(passed.is_empty());
    assert_eq!(requests.held(), 26);
    requests.feed(b"\n", &mut passed).unwrap();
    assert_eq!((passed.len(), requests.held()), (27, 0));
}

#[test]
fn a_head_is_bounded_however_it_comes() {
    let mut long = b"GET / HTTP/1.1\r\nHost: k\r\nX: ".to_vec();
    long.resize(LIMITS.bytes + 1, b'a');
    assert_eq!(read(&long).2, Some(Malformed::TooLarge));
    let each: Vec<&[u8]> = long.chunks(1).collect();
    assert_eq!(read_in_pieces(&each).2, Some(Malformed::TooLarge));
    let many = [&b"GET / HTTP/1.1\r\nHost: k\r\n"[..], &b"X: a\r\n".repeat(LIMITS.fields)].concat();
    assert_eq!(read(&many).2, Some(Malformed::TooMany));
    let trailers = [
        &b"POST / HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"[..],
        &b"X-Sum: aaaaaaaaaaaaaaaa\r\n".repeat(1000),
    ];
    assert_eq!(read(&trailers.concat()).2, Some(Malformed::TooLarge));
}

#[test]
fn after_an_error_there_is_nothing_else() {
    let mut requests = Requests::new(LIMITS);
    let mut passed = Vec::new();
    assert_eq!(requests.feed(b"\n", &mut passed), Err(Malformed::LineEnding));
    assert_eq!(requests.feed(b"GET / HTTP/1.1\r\nHost: k\r\n\r\n", &mut passed), Err(Malformed::LineEnding));
    assert!(passed.is_empty());
}

/// Any of the table's inputs, with bytes changed.
fn nearly_a_request() -> impl Strategy<Value = Vec<u8>> {
    let of_table = (0..hostile::WELL_FORMED.len() + hostile::MALFORMED.len()).prop_map(|index| {
        let well_formed = hostile::WELL_FORMED.get(index).map(|(_, bytes)| *bytes);
        well_formed.unwrap_or_else(|| hostile::MALFORMED[index - hostile::WELL_FORMED.len()].1).to_vec()
    });
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (of_table, changes).prop_map(|(mut bytes, changes)| {
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn however_the_bytes_are_split_they_are_read_alike(
        bytes in nearly_a_request(),
        splits in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut at: Vec<usize> = splits.iter().map(|index| index.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let (whole, split) = (read(&bytes), read_in_pieces(&pieces));
        prop_assert_eq!((whole.1, whole.2), (split.1, split.2));
        // Of a body that breaks, more may have passed.
        prop_assert!(split.0.starts_with(&whole.0));
        prop_assert!(whole.2.is_some_and(|malformed| matches!(malformed, Malformed::Chunk | Malformed::Trailer | Malformed::FieldName | Malformed::FieldValue | Malformed::Folded | Malformed::LineEnding)) || whole.0 == split.0);
    }

    #[test]
    fn a_path_that_passes_is_one_that_the_http_library_takes_whole(target in "/[!-~]{0,12}") {
        let (_, _, malformed) = read(format!("GET {target} HTTP/1.1\r\nHost: k\r\n\r\n").as_bytes());
        if malformed.is_none() {
            let uri: http::Uri = target.parse().unwrap();
            prop_assert_eq!(uri.path_and_query().map(ToString::to_string), Some(target));
            prop_assert!(uri.authority().is_none());
        }
    }
}
