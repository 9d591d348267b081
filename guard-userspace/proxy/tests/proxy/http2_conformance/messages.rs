//! Requests in HTTP/2 (8.1 to 8.4): what is malformed is reset, or answered with 400.

use super::*;
use crate::bed::frames::{block, code::*, flag, frame, kind::*, literal, token};

/// Pseudo-headers of these names and values, in this order, and whatever else.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = fields.iter().map(|(name, value)| literal(name, value)).chain([token()]).collect();
    frame(HEADERS, flag::WHOLE, 1, &parts.concat())
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const PATH: (&str, &str) = (":path", "/smuggled");
const AUTHORITY: (&str, &str) = (":authority", "k");

/// A well-formed head with one more header.
fn with(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    frame(HEADERS, flag::WHOLE, 1, &[block("GET", "/smuggled"), literal(name, value)].concat())
}

/// A POST whose head and body are these.
fn post(headers: &[(&str, &str)], rest: &[Vec<u8>]) -> Vec<u8> {
    let more: Vec<Vec<u8>> = headers.iter().map(|(name, value)| literal(name, value)).collect();
    let head = frame(HEADERS, flag::END_HEADERS, 1, &[block("POST", "/ok"), more.concat()].concat());
    [head, rest.concat()].concat()
}

const MALFORMED: Expected = Expected::StreamError(&[PROTOCOL_ERROR]);
const REFUSED: Expected = Expected::Answer(1, 400);

#[tokio::test]
async fn ordinary_requests_are_answered() {
    let data = |flags| frame(DATA, flags, 1, b"test");
    let trailers = || frame(HEADERS, flag::WHOLE, 1, &literal("x-sum", "1"));
    run(vec![
        case("8.1", "GET", &[frame(HEADERS, flag::WHOLE, 1, &block("GET", "/ok"))], Expected::Answer(1, 200)),
        case("8.1", "HEAD", &[frame(HEADERS, flag::WHOLE, 1, &block("HEAD", "/ok"))], Expected::Answer(1, 200)),
        case("8.1", "POST", &[post(&[], &[data(flag::END_STREAM)])], Expected::Answer(1, 200)),
        case(
            "8.1",
            "POST in two pieces",
            &[post(&[("content-length", "8")], &[data(0), data(flag::END_STREAM)])],
            Expected::Answer(1, 200),
        ),
        case("8.1", "POST with a trailer", &[post(&[], &[data(0), trailers()])], Expected::Answer(1, 200)),
        case(
            "8.1",
            "an empty DATA as the end",
            &[post(&[], &[frame(DATA, flag::END_STREAM, 1, b"")])],
            Expected::Answer(1, 200),
        ),
    ])
    .await;
}

#[tokio::test]
async fn pseudo_headers_are_there_once_first_and_no_others() {
    run(vec![
        case("8.2.1", "a name in upper case", &[with("X-TEST", "ok")], MALFORMED),
        case("8.3", "an unknown pseudo-header", &[with(":test", "ok")], MALFORMED),
        case(
            "8.3",
            "a pseudo-header of responses",
            &[request(&[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")])],
            MALFORMED,
        ),
        case(
            "8.3",
            "a pseudo-header behind a header",
            &[request(&[METHOD, SCHEME, ("x-test", "ok"), PATH, AUTHORITY])],
            MALFORMED,
        ),
        case(
            "8.3",
            "a pseudo-header as trailer",
            &[post(&[], &[frame(DATA, 0, 1, b"test"), frame(HEADERS, flag::WHOLE, 1, &literal(":method", "GET"))])],
            MALFORMED,
        )
        .but(
            Expected::Answer(1, 200),
            "h2 passes over pseudo-headers of trailers, and no trailer goes on to the API server",
        ),
        case("8.3.1", "no method", &[request(&[SCHEME, PATH, AUTHORITY])], MALFORMED),
        case("8.3.1", "no scheme", &[request(&[METHOD, PATH, AUTHORITY])], MALFORMED),
        case("8.3.1", "no path", &[request(&[METHOD, SCHEME, AUTHORITY])], MALFORMED),
        case("8.3.1", "an empty path", &[request(&[METHOD, SCHEME, (":path", ""), AUTHORITY])], MALFORMED),
        case("8.3.1", "two methods", &[request(&[METHOD, METHOD, SCHEME, PATH, AUTHORITY])], MALFORMED),
        case("8.3.1", "two schemes", &[request(&[METHOD, SCHEME, SCHEME, PATH, AUTHORITY])], MALFORMED),
        case("8.3.1", "two paths", &[request(&[METHOD, SCHEME, PATH, PATH, AUTHORITY])], MALFORMED),
        case("8.3.1", "two authorities", &[request(&[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY])], MALFORMED),
        case("8.3.1", "no authority and no Host", &[request(&[METHOD, SCHEME, PATH])], REFUSED),
        case("8.3.1", "an authority with a user", &[request(&[METHOD, SCHEME, PATH, (":authority", "a@k")])], REFUSED),
        case("8.3.1", "a Host that differs from the authority", &[with("host", "other")], REFUSED),
        case(
            "8.3.1",
            "a path that does not begin with a slash",
            &[request(&[METHOD, SCHEME, (":path", "smuggled"), AUTHORITY])],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "an absolute path",
            &[request(&[METHOD, SCHEME, (":path", "https://other/smuggled"), AUTHORITY])],
            MALFORMED,
        ),
        case("8.3.1", "an asterisk", &[request(&[(":method", "OPTIONS"), SCHEME, (":path", "*"), AUTHORITY])], REFUSED),
        case(
            "8.3.1",
            "a space in the path",
            &[request(&[METHOD, SCHEME, (":path", "/smuggled HTTP/1.1"), AUTHORITY])],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "CR LF in the path",
            &[request(&[METHOD, SCHEME, (":path", "/smuggled\r\nx: y"), AUTHORITY])],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "a space in the method",
            &[request(&[(":method", "GET /smuggled"), SCHEME, PATH, AUTHORITY])],
            Expected::ConnectionError(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        case("8.5", "CONNECT", &[request(&[(":method", "CONNECT"), (":authority", "k:443")])], REFUSED),
        case(
            "RFC 8441, 4",
            "CONNECT with a protocol, which nobody announced",
            &[request(&[(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, PATH, AUTHORITY])],
            MALFORMED,
        ),
        case(
            "RFC 8441, 4",
            "a protocol without CONNECT",
            &[request(&[METHOD, (":protocol", "websocket"), SCHEME, PATH, AUTHORITY])],
            MALFORMED,
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_belongs_to_http1_has_no_place() {
    let mut cases = Vec::new();
    for (name, value) in [
        ("connection", "keep-alive"),
        ("connection", "upgrade"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("te", "trailers, deflate"),
    ] {
        cases.push(case("8.2.2", name, &[with(name, value)], MALFORMED));
    }
    cases.push(case(
        "8.2.2",
        "te: trailers",
        &[frame(HEADERS, flag::WHOLE, 1, &[block("GET", "/ok"), literal("te", "trailers")].concat())],
        Expected::Answer(1, 200),
    ));
    run(cases).await;
}

#[tokio::test]
async fn a_value_is_text_and_a_name_a_token() {
    run(vec![
        // h2 takes what is no header at all for an error of compression, which ends the connection: more than is asked for.
        case(
            "8.2.1",
            "CR LF in a value",
            &[with("x-test", "a\r\ntransfer-encoding: chunked")],
            Expected::ConnectionError(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        case(
            "8.2.1",
            "LF in a value",
            &[with("x-test", "a\nb")],
            Expected::ConnectionError(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        case(
            "8.2.1",
            "NUL in a value",
            &[with("x-test", "a\0b")],
            Expected::ConnectionError(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        case(
            "8.2.1",
            "DEL in a value",
            &[with("x-test", "a\x7f")],
            Expected::ConnectionError(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        case("8.2.1", "UTF-8 in a value", &[with("x-test", "\u{e4}")], REFUSED),
        case("8.2.1", "Latin-1 in a value", &[with("x-test", [0xe4])], REFUSED),
        case("8.2.1", "a space in a name", &[with("x test", "a")], MALFORMED),
        case("8.2.1", "a colon in a name", &[with("x:test", "a")], MALFORMED),
        case("8.2.1", "CR LF in a name", &[with("x\r\ntest", "a")], MALFORMED),
        case("8.2.1", "NUL in a name", &[with("x\0test", "a")], MALFORMED),
        case("8.2.1", "non-ASCII in a name", &[with("x-\u{e4}", "a")], MALFORMED),
        case("8.2.1", "no name", &[with("", "a")], MALFORMED),
        case(
            "8.2.1",
            "non-ASCII in the path",
            &[request(&[METHOD, SCHEME, (":path", "/smuggled/\u{e4}"), AUTHORITY])],
            REFUSED,
        ),
        case(
            "RFC 9110, 5.3",
            "two content types",
            &[frame(
                HEADERS,
                flag::WHOLE,
                1,
                &[block("GET", "/smuggled"), literal("content-type", "a/b"), literal("content-type", "c/d")].concat(),
            )],
            REFUSED,
        ),
        case("RFC 9110, 5.3", "two tokens", &[with("authorization", "Bearer another")], REFUSED),
        case("RFC 9110, 10.1.1", "an unknown expectation", &[with("expect", "anything")], REFUSED),
    ])
    .await;
}

#[tokio::test]
async fn a_body_is_as_long_as_its_head_says() {
    let data = |flags, payload: &[u8]| frame(DATA, flags, 1, payload);
    let end = flag::END_STREAM;
    run(vec![
        case("8.1.1", "longer than its length", &[post(&[("content-length", "1")], &[data(end, b"test")])], MALFORMED),
        case("8.1.1", "shorter than its length", &[post(&[("content-length", "5")], &[data(end, b"test")])], MALFORMED),
        case(
            "8.1.1",
            "longer in two pieces",
            &[post(&[("content-length", "5")], &[data(0, b"test"), data(end, b"test")])],
            MALFORMED,
        ),
        case("8.1.1", "a length and no body", &[with("content-length", "4")], MALFORMED),
        case("8.1.1", "a negative length", &[post(&[("content-length", "-1")], &[data(end, b"test")])], MALFORMED),
        case("8.1.1", "a length with a sign", &[post(&[("content-length", "+4")], &[data(end, b"test")])], MALFORMED),
        case(
            "8.1.1",
            "a length of 2^64",
            &[post(&[("content-length", "18446744073709551616")], &[data(end, b"test")])],
            MALFORMED,
        ),
        case(
            "8.1",
            "a second head that does not end the stream",
            &[post(&[], &[data(0, b"test"), frame(HEADERS, flag::END_HEADERS, 1, &literal("x-sum", "1"))])],
            MALFORMED,
        ),
    ])
    .await;
}
