//! Header compression (RFC 7541): every representation is read, and what is none ends the connection.

use super::*;
use crate::bed::frames::{block, code::*, flag, frame, kind::*, literal, string, token};

/// Of the static table: GET, https, and the root. What follows is `more`.
fn get(more: &[u8]) -> Vec<u8> {
    frame(HEADERS, flag::WHOLE, 1, &[&[0x82, 0x87, 0x84][..], &literal(":authority", "k"), &token(), more].concat())
}

const BROKEN: Expected = Expected::ConnectionError(&[COMPRESSION_ERROR]);

/// A header with the first bits of its representation.
fn represented(first: u8, name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![first];
    string(&mut bytes, name.as_bytes());
    string(&mut bytes, value.as_bytes());
    bytes
}

#[tokio::test]
async fn every_representation_is_read() {
    // "GET" is static entry 2, `www.example.com` is Appendix C.4.1's example of Huffman coding.
    let authority = [0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    let block = |more: &[u8]| frame(HEADERS, flag::WHOLE, 1, &[&[0x82, 0x87, 0x84], more, &token()].concat());
    let again = frame(HEADERS, flag::WHOLE, 3, &[&[0x82, 0x87, 0x84, 0xbe][..], &token()].concat());
    run(vec![
        case("HPACK 6.1", "indexed, of the static table", &[get(&[])], Expected::Answer(1, 200)),
        case(
            "HPACK 6.2.1",
            "literal, into the table",
            &[get(&represented(0x40, "x-test", "a"))],
            Expected::Answer(1, 200),
        ),
        case(
            "HPACK 6.2.2",
            "literal, into no table",
            &[get(&represented(0x00, "x-test", "a"))],
            Expected::Answer(1, 200),
        ),
        case(
            "HPACK 6.2.3",
            "literal, never into a table",
            &[get(&represented(0x10, "x-test", "a"))],
            Expected::Answer(1, 200),
        ),
        case(
            "HPACK 5.2",
            "Huffman coding, and the dynamic table",
            &[block(&authority), again],
            Expected::Answer(3, 200),
        ),
        case(
            "HPACK 5.2",
            "Huffman coding of a Host that differs",
            &[frame(
                HEADERS,
                flag::WHOLE,
                1,
                &[&super::frames::block("GET", "/smuggled")[..], &[0x00, 0x04][..], b"host", &authority[1..]].concat(),
            )],
            Expected::Answer(1, 400),
        ),
        case(
            "HPACK 6.3",
            "a table of no size, and of some again",
            &[frame(
                HEADERS,
                flag::WHOLE,
                1,
                &[&[0x20, 0x3f, 0x01, 0x82, 0x87, 0x84][..], &literal(":authority", "k"), &token()].concat(),
            )],
            Expected::Answer(1, 200),
        ),
        case(
            "HPACK 5.1",
            "a length of several bytes",
            &[get(&literal("x-test", "a".repeat(300)))],
            Expected::Answer(1, 200),
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_is_no_representation_ends_the_connection() {
    let name = |value: &[u8]| [&[0x00, 0x06][..], b"x-test", value].concat();
    run(vec![
        case("HPACK 2.3.3", "an index behind both tables", &[get(&[0xc6])], BROKEN).but_protocol_error(),
        case("HPACK 2.3.3", "a name behind both tables", &[get(&[&[0x7f, 0x07, 0x01][..], b"a"].concat())], BROKEN)
            .but_protocol_error(),
        case("HPACK 4.2", "a table's size at the end of a block", &[get(&[0x20])], BROKEN).but_protocol_error(),
        case("HPACK 5.2", "Huffman padding of more than 7 bits", &[get(&name(&[0x82, 0x1f, 0xff]))], BROKEN)
            .but_protocol_error(),
        case("HPACK 5.2", "Huffman padding of zeros", &[get(&name(&[0x81, 0x18]))], BROKEN).but_protocol_error(),
        case(
            "HPACK 5.2",
            "the end of strings in Huffman coding",
            &[get(&name(&[0x84, 0xff, 0xff, 0xff, 0xff]))],
            BROKEN,
        )
        .but_protocol_error(),
        case("HPACK 6.1", "index 0", &[get(&[0x80])], BROKEN).but_protocol_error(),
        case(
            "HPACK 6.3",
            "a table above the announced size",
            &[frame(HEADERS, flag::WHOLE, 1, &[&[0x3f, 0xe1, 0xff, 0x03][..], &block("GET", "/smuggled")].concat())],
            BROKEN,
        )
        .but_protocol_error(),
        case("HPACK 5.1", "a number without an end", &[get(&[&[0xff][..], &[0xff; 20]].concat())], BROKEN)
            .but_protocol_error(),
        case("HPACK 5.2", "a value longer than its block", &[get(&name(&[0x7f, 0xff, 0x0f]))], BROKEN)
            .but_protocol_error(),
        case("9113, 4.3", "a block that is cut off", &[get(&[0x00, 0x06, b'x'])], BROKEN).but_protocol_error(),
        case(
            "9113, 4.3",
            "a block of noise",
            &[frame(HEADERS, flag::WHOLE, 1, &[0xde, 0xad, 0xbe, 0xef, 0xff, 0xff, 0xff, 0xff, 0xff])],
            BROKEN,
        )
        .but_protocol_error(),
    ])
    .await;
}
