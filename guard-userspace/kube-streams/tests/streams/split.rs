//! Where bytes are cut changes nothing.

use guard_kube_streams::{Channel, Fault, Kind, Session, Side, TerminalSize};
use proptest::prelude::*;

use crate::{
    samples::{self, Sample, frame},
    seen::{Seen, feed, merge, payloads},
};

/// All that is told of a sample, each saying given by `cut` in pieces.
fn told(sample: &Sample, cut: impl Fn(usize, &[u8]) -> Vec<usize>) -> Vec<(Side, Vec<Seen>)> {
    let mut session = Session::new(&sample.protocol);
    let mut told: Vec<(Side, Vec<Seen>)> = Vec::new();
    for (turn, (side, bytes)) in sample.said.iter().enumerate() {
        let mut pieces = Vec::new();
        let mut from = 0;
        for at in cut(turn, bytes).into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[from..at]);
            from = at;
        }
        let (result, seen, passed) = feed(&mut session, *side, &pieces);
        assert_eq!(result, Ok(()), "{}: turn {turn}", sample.name);
        assert_eq!(&passed, bytes, "{}: turn {turn}: the bytes go on as they are", sample.name);
        told.push((*side, seen));
    }
    told
}

fn whole(_: usize, _: &[u8]) -> Vec<usize> {
    Vec::new()
}

#[test]
fn cut_at_any_byte_each_sample_says_the_same() {
    for sample in samples::all() {
        let expected = told(&sample, whole);
        for (turn, (_, bytes)) in sample.said.iter().enumerate() {
            for at in 1..bytes.len() {
                let cut = |here: usize, _: &[u8]| if here == turn { vec![at] } else { Vec::new() };
                assert_eq!(told(&sample, cut), expected, "{}: turn {turn} cut at {at}", sample.name);
            }
        }
        let bytewise = |_: usize, bytes: &[u8]| (1..bytes.len()).collect();
        assert_eq!(told(&sample, bytewise), expected, "{}: byte by byte", sample.name);
    }
}

#[test]
fn cut_behind_its_channel_a_message_in_the_wrong_direction_says_nothing_either() {
    let sample = samples::all().into_iter().find(|sample| sample.name == "v5").expect("a sample of v5");
    let to_stdout = frame(Side::Client, 0x82, &[1, 0]);
    for cut in 0..to_stdout.len() {
        let pieces = [&to_stdout[..cut], &to_stdout[cut..]];
        let (result, seen, _) = feed(&mut Session::new(&sample.protocol), Side::Client, &pieces);
        assert_eq!(result.map_err(|broken| broken.fault), Err(Fault::WrongDirection), "cut at {cut}");
        assert_eq!(payloads(&seen), [], "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn cut_at_any_bytes_each_sample_says_the_same(cuts: Vec<prop::sample::Index>) {
        for sample in samples::all() {
            let cut = |_: usize, bytes: &[u8]| {
                let mut cut: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
                cut.sort_unstable();
                cut
            };
            prop_assert_eq!(told(&sample, cut), told(&sample, whole), "{}", sample.name);
        }
    }

    /// Whatever comes, cut or whole it is the same, and nothing panics.
    #[test]
    fn what_nobody_would_send_says_the_same_however_it_is_cut(bytes: Vec<u8>, cut: prop::sample::Index, tail: Vec<u8>) {
        for sample in samples::all() {
            for (side, first) in [(Side::Client, 0x82), (Side::Server, 0x82), (Side::Client, 0x80), (Side::Server, 0x80)] {
                let bytes = [&frame(side, first, &bytes)[..], &tail].concat();
                let cut = cut.index(bytes.len() + 1);
                let (one, seen, _) = feed(&mut Session::new(&sample.protocol), side, &[&bytes]);
                let (two, pieces, _) = feed(&mut Session::new(&sample.protocol), side, &[&bytes[..cut], &bytes[cut..]]);
                prop_assert_eq!(one.map_err(|broken| broken.fault), two.map_err(|broken| broken.fault));
                prop_assert_eq!(payloads(&seen), payloads(&pieces));
            }
        }
    }
}

fn channel(id: u32, kind: Kind) -> Channel {
    Channel { id, kind }
}

fn all_of(name: &str, side: Side) -> Vec<Seen> {
    let sample = samples::all().into_iter().find(|sample| sample.name == name).unwrap();
    let mut all = Vec::new();
    let told = told(&sample, whole).into_iter().filter(|(who, _)| *who == side);
    told.flat_map(|(_, seen)| seen).for_each(|event| merge(&mut all, event));
    all
}

#[test]
fn version_5_has_every_channel_and_its_close() {
    let client = all_of("v5", Side::Client);
    assert_eq!(payloads(&client)[1], (channel(0, Kind::Stdin), b"ls -l\n".to_vec()));
    assert!(client.contains(&Seen::Resized(TerminalSize { width: 120, height: 40 })));
    assert!(client.contains(&Seen::Ended(channel(0, Kind::Stdin), guard_kube_streams::End::Close)));
    assert_eq!(client.last(), Some(&Seen::Goodbye(Some(1000))));
    let server = payloads(&all_of("v5", Side::Server));
    assert_eq!(server[1], (channel(2, Kind::Stderr), b"in two fragments".to_vec()));
    assert!(server[2].1.starts_with(b"{\"metadata\""));
}

#[test]
fn base64_is_told_decoded() {
    assert_eq!(payloads(&all_of("base64", Side::Client)), [(channel(0, Kind::Stdin), b"ls\n".to_vec())]);
    assert_eq!(payloads(&all_of("base64", Side::Server))[0], (channel(1, Kind::Stdout), b"foob".to_vec()));
    assert_eq!(payloads(&all_of("log", Side::Server)), [(channel(0, Kind::Message), b"line 1\nline 2\n".to_vec())]);
}

#[test]
fn a_port_forward_has_data_and_error_per_port() {
    let server = all_of("ports", Side::Server);
    assert_eq!(
        server[..2],
        [Seen::Port(channel(0, Kind::Data { port: 80 })), Seen::Port(channel(1, Kind::PortError { port: 80 }))]
    );
    assert_eq!(payloads(&server)[1], (channel(3, Kind::PortError { port: 8080 }), b"nobody listens".to_vec()));
    for name in ["spdy forward", "tunnel"] {
        let client = payloads(&all_of(name, Side::Client));
        assert_eq!(client[2], (channel(11, Kind::Data { port: 443 }), b"pingbye".to_vec()), "{name}");
        let server = payloads(&all_of(name, Side::Server));
        assert_eq!(server[1], (channel(3, Kind::Closed), b"late".to_vec()), "{name}");
    }
}

#[test]
fn spdy_exec_has_its_streams_and_their_half_closes() {
    let client = all_of("spdy exec", Side::Client);
    assert!(client.contains(&Seen::Opened(channel(3, Kind::Stdin), None)));
    assert!(client.contains(&Seen::Ended(channel(3, Kind::Stdin), guard_kube_streams::End::Fin)));
    assert!(client.contains(&Seen::Resized(TerminalSize { width: 80, height: 24 })));
    let server = payloads(&all_of("spdy exec", Side::Server));
    assert_eq!(server[0], (channel(5, Kind::Stdout), b"cat\nthe last".to_vec()));
    assert_eq!(server[1].0.kind, Kind::Error);
}

#[test]
fn a_watchs_message_in_fragments_is_one() {
    let messages: Vec<_> = all_of("watch", Side::Server);
    assert_eq!(messages.len(), 2);
    let Seen::Payload(_, part, bytes) = &messages[1] else { panic!("{messages:?}") };
    assert!(part.first && part.last && part.text);
    assert_eq!(bytes, br#"{"type":"MODIFIED"}"#);
}
