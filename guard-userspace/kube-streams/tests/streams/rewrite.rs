//! Payload is replaced on its way: by as many bytes in place, or by any number in frames of our own.

use guard_kube_streams::{Encoder, Event, Payload, Session, Side};

use crate::{
    samples::{self, Sample},
    seen::{Seen, feed, note, payloads},
};

/// The session's bytes of one side as they would arrive.
fn said(sample: &Sample, side: Side) -> Vec<u8> {
    sample.said.iter().filter(|(who, _)| *who == side).flat_map(|(_, bytes)| bytes.clone()).collect()
}

#[test]
fn what_is_written_in_place_is_what_the_other_side_reads() {
    for sample in samples::all() {
        let (mut here, mut there) = (Session::new(&sample.protocol), Session::new(&sample.protocol));
        for (side, bytes) in &sample.said {
            let mut buffer = bytes.clone();
            let mut changed = Vec::new();
            for piece in buffer.chunks_mut(7) {
                here.pass(*side, piece, &mut |event| {
                    let event = match event {
                        Event::Payload { channel, part, bytes: Payload::InPlace(bytes) }
                            if channel.kind.label() != "resize" =>
                        {
                            bytes.make_ascii_uppercase();
                            Event::Payload { channel, part, bytes: Payload::InPlace(bytes) }
                        }
                        other => other,
                    };
                    note(&mut changed, event);
                })
                .unwrap();
            }
            assert_eq!(buffer.len(), bytes.len());
            let (result, seen, _) = feed(&mut there, *side, &[&buffer]);
            assert_eq!(result, Ok(()), "{}", sample.name);
            assert_eq!(seen, changed, "{}", sample.name);
        }
    }
}

/// A replacement that is longer, shorter, or nothing.
fn replaced(bytes: &[u8]) -> Vec<u8> {
    match bytes.len() % 3 {
        0 => [bytes, b"<longer>"].concat(),
        1 => Vec::new(),
        _ => bytes[..bytes.len() / 2].to_vec(),
    }
}

#[test]
fn what_is_framed_anew_is_the_same_stream_with_other_payload() {
    for sample in samples::all() {
        for piece in [1, 7, 1 << 20] {
            let (mut here, mut there) = (Session::new(&sample.protocol), Session::new(&sample.protocol));
            // A server's frames make sense only with the streams that the client has opened.
            for session in [&mut here, &mut there] {
                feed(session, Side::Client, &[&said(&sample, Side::Client)]).0.unwrap();
            }
            let mut encoder = Encoder::new(&sample.protocol);
            let (mut expected, mut out) = (Vec::new(), Vec::new());
            for bytes in said(&sample, Side::Server).chunks_mut(piece) {
                here.pass(Side::Server, bytes, &mut |event| match event {
                    Event::Control { bytes, tunnelled } => encoder.control(bytes, tunnelled, &mut out),
                    Event::Port(channel) => encoder.port(channel, &mut out),
                    Event::Payload { channel, part, bytes } => {
                        let other = replaced(bytes.as_bytes());
                        encoder.payload(channel, part, &other, &mut out);
                        expected.push(Seen::Payload(channel, part, other));
                    }
                    Event::Ended { channel, how } => encoder.end(channel, how, &mut out),
                    Event::Opened { .. } | Event::Resized(_) | Event::Goodbye { .. } => {}
                })
                .unwrap();
            }
            let (result, seen, _) = feed(&mut there, Side::Server, &[&out]);
            assert_eq!(result, Ok(()), "{} in pieces of {piece}", sample.name);
            let told =
                |seen: &[Seen]| payloads(seen).into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect::<Vec<_>>();
            assert_eq!(told(&seen), told(&expected), "{} in pieces of {piece}", sample.name);
            let ends = |seen: &[Seen]| {
                seen.iter()
                    .filter(|event| matches!(event, Seen::Ended(..) | Seen::Goodbye(_)))
                    .cloned()
                    .collect::<Vec<_>>()
            };
            let mut original = Session::new(&sample.protocol);
            feed(&mut original, Side::Client, &[&said(&sample, Side::Client)]).0.unwrap();
            let (_, before, _) = feed(&mut original, Side::Server, &[&said(&sample, Side::Server)]);
            assert_eq!(ends(&seen), ends(&before), "{} in pieces of {piece}", sample.name);
        }
    }
}
