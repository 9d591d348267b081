//! The states of streams, and the frames that are about one (5.1 to 5.3, 6.1 to 6.4, 6.10).

use super::*;
use crate::bed::frames::{block, code::*, flag, frame, kind::*};

fn headers(flags: u8, stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block("GET", path))
}

/// A request whose body is still to come.
fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, flag::END_HEADERS, stream, &block("POST", "/ok"))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

fn data(flags: u8, stream: u32) -> Vec<u8> {
    frame(DATA, flags, stream, b"test")
}

#[tokio::test]
async fn a_stream_that_nobody_opened_takes_headers_alone() {
    run(vec![
        case("5.1", "idle: DATA", &[data(0, 1)], Expected::ConnectionError(&[PROTOCOL_ERROR, STREAM_CLOSED])),
        case("5.1", "idle: RST_STREAM", &[reset(1)], Expected::ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "5.1",
            "idle: WINDOW_UPDATE",
            &[frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.1",
            "idle: CONTINUATION",
            &[frame(CONTINUATION, flag::END_HEADERS, 1, &block("GET", "/smuggled"))],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.1",
            "idle: PRIORITY is ignored",
            &[frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15]), headers(flag::WHOLE, 1, "/ok")],
            Expected::Answer(1, 200),
        ),
        case(
            "5.1.1",
            "a stream of an even number",
            &[headers(flag::WHOLE, 2, "/smuggled")],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.1.1",
            "a stream of a smaller number than the last",
            &[headers(flag::WHOLE, 5, "/ok"), headers(flag::WHOLE, 3, "/smuggled")],
            // h2 takes streams that were skipped for closed, as they are (5.1.1).
            Expected::ConnectionError(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_stream_that_its_client_ended_takes_no_more_of_it() {
    let ended = || frame(HEADERS, flag::WHOLE, 1, &block("GET", "/ok"));
    let waiting = |frames: Vec<u8>| vec![Step::Send(ended()), Step::AwaitEnd(1), Step::Send(frames)];
    let after_the_answer =
        |what, frames, expected| Case { section: "5.1", what, steps: waiting(frames), expected, deviation: None };
    run(vec![
        case(
            "5.1",
            "half closed: DATA",
            &[ended(), data(flag::END_STREAM, 1)],
            Expected::StreamError(&[STREAM_CLOSED]),
        )
        .but_protocol_error(),
        case(
            "5.1",
            "half closed: HEADERS",
            &[ended(), headers(flag::WHOLE, 1, "/smuggled")],
            Expected::StreamError(&[STREAM_CLOSED]),
        )
        .but_protocol_error(),
        case(
            "5.1",
            "half closed: CONTINUATION",
            &[ended(), frame(CONTINUATION, flag::END_HEADERS, 1, &block("GET", "/smuggled"))],
            Expected::ConnectionError(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        case(
            "5.1",
            "reset: DATA",
            &[open(1), reset(1), data(flag::END_STREAM, 1)],
            Expected::StreamError(&[STREAM_CLOSED]),
        ),
        case(
            "5.1",
            "reset: HEADERS",
            &[open(1), reset(1), headers(flag::WHOLE, 1, "/smuggled")],
            Expected::StreamError(&[STREAM_CLOSED]),
        )
        .but_protocol_error(),
        case(
            "5.1",
            "reset: CONTINUATION",
            &[open(1), reset(1), frame(CONTINUATION, flag::END_HEADERS, 1, &block("GET", "/smuggled"))],
            Expected::ConnectionError(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        after_the_answer("closed: DATA", data(flag::END_STREAM, 1), Expected::ConnectionError(&[STREAM_CLOSED])),
        after_the_answer(
            "closed: HEADERS",
            headers(flag::WHOLE, 1, "/smuggled"),
            Expected::ConnectionError(&[STREAM_CLOSED]),
        )
        .but_protocol_error(),
        after_the_answer(
            "closed: CONTINUATION",
            frame(CONTINUATION, flag::END_HEADERS, 1, &block("GET", "/smuggled")),
            Expected::ConnectionError(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        after_the_answer("closed: PRIORITY is ignored", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15]), Expected::Nothing),
        after_the_answer(
            "closed: WINDOW_UPDATE is ignored",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Expected::Nothing,
        ),
        after_the_answer("closed: RST_STREAM is ignored", reset(1), Expected::Nothing),
    ])
    .await;
}

#[tokio::test]
async fn more_streams_than_announced_are_refused() {
    let limits = guard_proxy::Limits { streams: 3, ..guard_proxy::Limits::default() };
    let api = patient().await;
    let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
    let frames: Vec<Vec<u8>> = (0..4).map(|number| open(2 * number + 1)).collect();
    case("5.1.2", "one stream too many", &frames, Expected::StreamError(&[REFUSED_STREAM, PROTOCOL_ERROR]))
        .run(&bed)
        .await
        .unwrap();
}

#[tokio::test]
async fn frames_of_a_stream_have_their_format() {
    let padded = |kind, flags, payload: &[u8]| frame(kind, flag::PADDED | flags, 1, payload);
    let with_priority = |dependency: u32| [&dependency.to_be_bytes()[..], &[15], &block("GET", "/ok")].concat();
    run(vec![
        case("6.1", "DATA of no stream", &[data(0, 0)], Expected::ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "6.1",
            "DATA with more padding than payload",
            &[open(1), padded(DATA, flag::END_STREAM, &[6, b't', b'e', b's', b't'])],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.1",
            "DATA with padding",
            &[open(1), padded(DATA, flag::END_STREAM, &[2, b't', b'e', 0, 0])],
            Expected::Answer(1, 200),
        ),
        case(
            "6.2",
            "HEADERS of no stream",
            &[headers(flag::WHOLE, 0, "/smuggled")],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.2",
            "HEADERS with more padding than payload",
            &[padded(HEADERS, flag::WHOLE, &[255, 0x82])],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.2",
            "HEADERS with padding",
            &[padded(HEADERS, flag::WHOLE, &[&[2][..], &block("GET", "/ok"), &[0, 0]].concat())],
            Expected::Answer(1, 200),
        ),
        case(
            "6.2",
            "HEADERS with a priority",
            &[frame(HEADERS, flag::WHOLE | flag::PRIORITY, 1, &with_priority(0))],
            Expected::Answer(1, 200),
        ),
        case(
            "6.2 and 5.3.1",
            "HEADERS that depend on themselves",
            &[frame(HEADERS, flag::WHOLE | flag::PRIORITY, 1, &with_priority(1))],
            Expected::StreamError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.3",
            "PRIORITY of no stream",
            &[frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 15])],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.3",
            "PRIORITY of 4 bytes",
            &[open(1), frame(PRIORITY, 0, 1, &[0; 4])],
            Expected::StreamError(&[FRAME_SIZE_ERROR]),
        )
        .but_protocol_error(),
        case("6.4", "RST_STREAM of no stream", &[reset(0)], Expected::ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "6.4",
            "RST_STREAM of 3 bytes",
            &[open(1), frame(RST_STREAM, 0, 1, &[0; 3])],
            Expected::ConnectionError(&[FRAME_SIZE_ERROR]),
        )
        .but_protocol_error(),
    ])
    .await;
}

#[tokio::test]
async fn a_header_block_is_in_one_piece() {
    let block = block("GET", "/ok");
    let (first, rest) = block.split_at(10);
    let (second, third) = rest.split_at(10);
    let begun = || frame(HEADERS, flag::END_STREAM, 1, first);
    run(vec![
        case(
            "6.10",
            "two CONTINUATIONs",
            &[begun(), frame(CONTINUATION, 0, 1, second), frame(CONTINUATION, flag::END_HEADERS, 1, third)],
            Expected::Answer(1, 200),
        ),
        case(
            "6.10",
            "an empty CONTINUATION",
            &[begun(), frame(CONTINUATION, 0, 1, rest), frame(CONTINUATION, flag::END_HEADERS, 1, &[])],
            Expected::Answer(1, 200),
        ),
        case(
            "4.3",
            "PRIORITY within a header block",
            &[begun(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15])],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "4.3",
            "HEADERS of another stream within a header block",
            &[begun(), headers(flag::WHOLE, 3, "/smuggled")],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.10",
            "DATA within a header block",
            &[begun(), data(flag::END_STREAM, 1)],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.10",
            "CONTINUATION of no stream",
            &[begun(), frame(CONTINUATION, flag::END_HEADERS, 0, rest)],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.10",
            "CONTINUATION of another stream",
            &[begun(), frame(CONTINUATION, flag::END_HEADERS, 3, rest)],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.10",
            "CONTINUATION behind a whole header block",
            &[open(1), frame(CONTINUATION, flag::END_HEADERS, 1, rest)],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.10",
            "CONTINUATION behind the last CONTINUATION",
            &[
                begun(),
                frame(CONTINUATION, flag::END_HEADERS, 1, rest),
                frame(CONTINUATION, flag::END_HEADERS, 1, rest),
            ],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.10",
            "CONTINUATION behind DATA",
            &[open(1), data(0, 1), frame(CONTINUATION, flag::END_HEADERS, 1, rest)],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
    ])
    .await;
}
