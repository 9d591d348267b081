//! The preface, frames, and those that are about the connection (3.4, 4, 5.5, 6.5 to 6.9, 7).

use super::*;
use crate::bed::frames::{PREFACE, block, code::*, flag, frame, kind::*, setting};

const WINDOW_MAX: u32 = 0x7fff_ffff;

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, flag::WHOLE, stream, &block("GET", "/ok"))
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

#[tokio::test]
async fn a_connection_begins_with_the_preface_and_settings() {
    let api = patient().await;
    let bed = Bed::before(&api).await;
    Wire::connect(&bed).await;
    for begin in [
        &b"INVALID CONNECTION PREFACE\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: k\r\n\r\n",
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        &PREFACE[..20],
    ] {
        let mut wire = Wire::bare(&bed).await;
        wire.send(begin).await;
        if begin.len() == 20 {
            // Cut short, it is waited for, and whoever goes away leaves nothing behind.
            drop(wire);
        } else {
            wire.until(|_| false).await;
        }
    }
    until("the end of all connections", || bed.open_connections() == 0).await;
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn frames_have_their_format() {
    let settings = setting(4, 65_535).repeat(2731);
    run(vec![
        case(
            "4.1",
            "a frame of an unknown type is ignored",
            &[frame(0x16, 0, 0, &[0; 8]), get(1)],
            Expected::Answer(1, 200),
        ),
        case(
            "4.1",
            "flags that are not defined are ignored",
            &[frame(PING, 0x16, 0, &[0; 8]), get(1)],
            Expected::Answer(1, 200),
        ),
        case(
            "4.1",
            "the reserved bit of a stream is ignored",
            &[frame(PING, 0, 0x8000_0000, &[0; 8]), get(1)],
            Expected::Answer(1, 200),
        ),
        case(
            "4.2",
            "a frame of 2^14 bytes is taken",
            &[
                frame(HEADERS, flag::END_HEADERS, 1, &block("POST", "/ok")),
                frame(DATA, flag::END_STREAM, 1, &[b'x'; 16_384]),
            ],
            Expected::Answer(1, 200),
        ),
        case(
            "4.2",
            "DATA above the announced size of frames",
            &[
                frame(HEADERS, flag::END_HEADERS, 1, &block("POST", "/ok")),
                frame(DATA, flag::END_STREAM, 1, &[b'x'; 65_537]),
            ],
            Expected::ConnectionError(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "4.2",
            "HEADERS above the announced size of frames",
            &[frame(HEADERS, flag::WHOLE, 1, &[0; 65_537])],
            Expected::ConnectionError(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "4.2",
            "SETTINGS of many bytes are taken",
            &[frame(SETTINGS, 0, 0, &settings[..16_380]), get(1)],
            Expected::Answer(1, 200),
        ),
        case(
            "5.5",
            "an unknown frame of the connection is ignored",
            &[frame(0xff, 0xff, 0, b"anything"), get(1)],
            Expected::Answer(1, 200),
        ),
        case(
            "5.5",
            "an unknown frame within a header block",
            &[frame(HEADERS, flag::END_STREAM, 1, &block("GET", "/smuggled")), frame(0xff, 0, 1, b"")],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn settings_are_what_they_may_be() {
    run(vec![
        case(
            "6.5",
            "an acknowledgement with a payload",
            &[frame(SETTINGS, flag::ACK, 0, &setting(1, 0))],
            Expected::ConnectionError(&[FRAME_SIZE_ERROR]),
        )
        .but_protocol_error(),
        case(
            "6.5",
            "SETTINGS of a stream",
            &[frame(SETTINGS, 0, 1, &setting(3, 100))],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.5",
            "SETTINGS that are no multiple of 6 bytes",
            &[frame(SETTINGS, 0, 0, &[0; 3])],
            Expected::ConnectionError(&[FRAME_SIZE_ERROR]),
        )
        .but_protocol_error(),
        case(
            "6.5.2",
            "ENABLE_PUSH that is neither 0 nor 1",
            &[frame(SETTINGS, 0, 0, &setting(2, 2))],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.5.2",
            "INITIAL_WINDOW_SIZE above 2^31-1",
            &[frame(SETTINGS, 0, 0, &setting(4, 0x8000_0000))],
            Expected::ConnectionError(&[FLOW_CONTROL_ERROR]),
        )
        .but_protocol_error(),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE below 2^14",
            &[frame(SETTINGS, 0, 0, &setting(5, 16_383))],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE above 2^24-1",
            &[frame(SETTINGS, 0, 0, &setting(5, 1 << 24))],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.5.2",
            "an unknown setting is ignored",
            &[frame(SETTINGS, 0, 0, &setting(0xff, 1)), get(1)],
            Expected::Answer(1, 200),
        ),
        case(
            "6.5.3",
            "of two values of one setting the last counts",
            &[frame(SETTINGS, 0, 0, &[setting(4, 0), setting(4, 65_535)].concat()), get(1)],
            Expected::Answer(1, 200),
        ),
    ])
    .await;
}

#[tokio::test]
async fn settings_are_acknowledged() {
    let api = patient().await;
    let bed = Bed::before(&api).await;
    let mut wire = Wire::connect(&bed).await;
    wire.send(&frame(SETTINGS, 0, 0, &setting(3, 100))).await;
    let seen = wire.until(|frame| frame.kind == SETTINGS).await;
    assert_eq!(seen.last().map(|frame| (frame.flags, frame.payload.len())), Some((flag::ACK, 0)), "6.5.3: {seen:?}");
}

#[tokio::test]
async fn pings_are_answered_and_end_what_is_none() {
    run(vec![
        case("6.7", "a PING is answered", &[], Expected::Nothing),
        case(
            "6.7",
            "a PING that is an answer is not answered",
            &[frame(PING, flag::ACK, 0, b"an ack  ")],
            Expected::Nothing,
        ),
        case("6.7", "a PING of a stream", &[frame(PING, 0, 1, &[0; 8])], Expected::ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "6.7 and 5.4.1",
            "a PING of 6 bytes",
            &[frame(PING, 0, 0, &[0; 6])],
            Expected::ConnectionError(&[FRAME_SIZE_ERROR]),
        )
        .but_protocol_error(),
        case(
            "6.8",
            "a GOAWAY of a stream",
            &[frame(GOAWAY, 0, 1, &[0; 8])],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "7",
            "a GOAWAY with an unknown code ends the connection",
            &[frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff])],
            Expected::End,
        ),
        case(
            "7",
            "a RST_STREAM with an unknown code ends its stream",
            &[frame(HEADERS, flag::END_HEADERS, 1, &block("POST", "/ok")), frame(RST_STREAM, 0, 1, &[0, 0, 0, 0xff])],
            Expected::Nothing,
        ),
        case(
            "6.6",
            "a PUSH_PROMISE of a client",
            &[frame(PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2])],
            Expected::ConnectionError(&[PROTOCOL_ERROR]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn windows_are_what_they_may_be() {
    let post = || frame(HEADERS, flag::END_HEADERS, 1, &block("POST", "/ok"));
    run(vec![
        case("6.9", "no increment, for the connection", &[window(0, 0)], Expected::ConnectionError(&[PROTOCOL_ERROR])),
        case("6.9", "no increment, for a stream", &[post(), window(1, 0)], Expected::StreamError(&[PROTOCOL_ERROR])),
        case(
            "6.9",
            "a WINDOW_UPDATE of 3 bytes",
            &[frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])],
            Expected::ConnectionError(&[FRAME_SIZE_ERROR]),
        )
        .but_protocol_error(),
        case(
            "6.9",
            "a WINDOW_UPDATE for a stream that has answered",
            &[get(1), window(1, 1)],
            Expected::Answer(1, 200),
        ),
        case(
            "6.9.1",
            "the connection's window above 2^31-1",
            &[window(0, WINDOW_MAX), window(0, WINDOW_MAX)],
            Expected::ConnectionError(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "6.9.1",
            "a stream's window above 2^31-1",
            &[post(), window(1, WINDOW_MAX), window(1, WINDOW_MAX)],
            Expected::StreamError(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "6.9.2",
            "INITIAL_WINDOW_SIZE that takes an open stream above 2^31-1",
            &[post(), window(1, WINDOW_MAX - 65_535), frame(SETTINGS, 0, 0, &setting(4, 65_536))],
            Expected::ConnectionError(&[FLOW_CONTROL_ERROR]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn an_answer_keeps_to_the_clients_window_and_its_changes() {
    let api = patient().await;
    let bed = Bed::before(&api).await;
    let data = |frame: &Frame| frame.kind == DATA && frame.stream == 1 && !frame.payload.is_empty();
    let mut wire = Wire::connect(&bed).await;
    // 6.9.1: a window of one byte gets one byte.
    wire.send(&[frame(SETTINGS, 0, 0, &setting(4, 1)), get(1)].concat()).await;
    assert_eq!(wire.until(data).await.last().map(|frame| frame.payload.clone()), Some(b"o".to_vec()));
    // 6.9.2: the window of an open stream changes with the setting; here it is negative before it opens again.
    wire.send(&[frame(SETTINGS, 0, 0, &setting(4, 0)), window(1, 2)].concat()).await;
    assert_eq!(wire.until(data).await.last().map(|frame| frame.payload.clone()), Some(b"k".to_vec()));
}
