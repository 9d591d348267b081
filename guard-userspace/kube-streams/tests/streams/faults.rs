//! What ends a stream, and how its other end learns of it.

use guard_kube_streams::{Fault, Protocol, Purpose, Session, Side};

use crate::{
    samples::{Spdy, control, data, frame, protocol},
    seen::feed,
};

fn exec() -> Protocol {
    protocol("v5.channel.k8s.io", Purpose::Command)
}

fn fault(protocol: &Protocol, side: Side, bytes: &[u8]) -> Option<Fault> {
    feed(&mut Session::new(protocol), side, &[bytes]).0.err().map(|broken| broken.fault)
}

#[test]
fn a_client_of_exec_says_nothing_that_two_servers_could_take_differently() {
    use Fault::*;
    let of = |bytes: &[u8]| fault(&exec(), Side::Client, bytes);
    let client = |first, payload: &[u8]| frame(Side::Client, first, payload);
    // Its server takes the second frame for a message of its own, on channel 0.
    assert_eq!(of(&[client(0x02, b"\x04x"), client(0x80, b"\0rm -rf /\n")].concat()), Some(Fragmented));
    assert_eq!(of(&client(0xc2, b"\0ls")), Some(ReservedBits));
    assert_eq!(of(&client(0x83, b"\0ls")), Some(Opcode(3)));
    assert_eq!(of(&frame(Side::Server, 0x82, b"\0ls")), Some(Unmasked));
    assert_eq!(of(&client(0x80, b"\0ls")), Some(StrayContinuation));
    assert_eq!(of(&client(0x82, b"\x05x")), Some(UnknownChannel(5)));
    assert_eq!(of(&client(0x82, b"\x01x")), Some(WrongDirection));
    assert_eq!(of(&client(0x82, b"\xff")), Some(CloseSignal));
    assert_eq!(of(&client(0x82, b"\xff\x00\x00")), Some(CloseSignal));
    assert_eq!(of(&client(0x82, b"\xff\x09")), Some(UnknownChannel(9)));
    assert_eq!(of(&client(0x82, b"\x04[1,2]")), Some(Resize));
    assert_eq!(of(&client(0x88, b"\x03")), Some(CloseCode));
    assert_eq!(of(&client(0x88, &1005_u16.to_be_bytes())), Some(CloseCode));
    assert_eq!(of(&client(0x89, &[0; 126])), Some(OversizedControl));
    assert_eq!(of(&client(0x09, b"")), Some(FragmentedControl));
    let version_4 = protocol("v4.channel.k8s.io", Purpose::Command);
    assert_eq!(fault(&version_4, Side::Client, &client(0x82, b"\xff\x00")), Some(UnknownChannel(255)));
    let base64 = protocol("base64.channel.k8s.io", Purpose::Command);
    assert_eq!(fault(&base64, Side::Client, &client(0x81, b"0!!!!")), Some(Base64));
    assert_eq!(fault(&base64, Side::Client, &client(0x81, b"\0aaaa")), Some(UnknownChannel(208)));
}

#[test]
fn a_server_is_held_to_the_rules_too() {
    use Fault::*;
    let server = |first, payload: &[u8]| frame(Side::Server, first, payload);
    assert_eq!(fault(&exec(), Side::Server, &frame(Side::Client, 0x82, b"\x01x")), Some(Masked));
    assert_eq!(fault(&exec(), Side::Server, &server(0x82, b"\0x")), Some(WrongDirection));
    assert_eq!(
        fault(&exec(), Side::Server, &[server(0x02, b"\x01"), server(0x82, b"\x01")].concat()),
        Some(InterleavedMessage)
    );
    let ports = protocol("v4.channel.k8s.io", Purpose::PortForward(vec![80]));
    assert_eq!(fault(&ports, Side::Server, &server(0x82, b"\0hello")), Some(PortAnnouncement));
    assert_eq!(fault(&ports, Side::Server, &server(0x82, &[0, 81, 0])), Some(PortAnnouncement));
    let tunnel = protocol("SPDY/3.1+portforward.k8s.io", Purpose::PortForward(vec![]));
    assert_eq!(fault(&tunnel, Side::Server, &server(0x81, b"x")), Some(TextInTunnel));
}

#[test]
fn streams_of_spdy_are_used_as_they_were_opened() {
    use Fault::*;
    let exec = Protocol::Spdy(Purpose::Command);
    let of = |side, bytes: &[u8]| fault(&exec, side, bytes);
    let stdin = || Spdy::new().syn_stream(1, &[("streamtype", "stdin")]);
    assert_eq!(of(Side::Client, &stdin()), None);
    assert_eq!(of(Side::Server, &stdin()), Some(StreamId(0)));
    assert_eq!(of(Side::Client, &data(1, false, b"x")), Some(StreamId(1)));
    assert_eq!(of(Side::Client, &data(0, false, b"x")), Some(StreamId(0)));
    assert_eq!(of(Side::Client, &Spdy::new().syn_stream(2, &[("streamtype", "stdin")])), Some(StreamId(2)));
    assert_eq!(of(Side::Client, &Spdy::new().syn_stream(1, &[("streamtype", "shell")])), Some(StreamType));
    assert_eq!(of(Side::Client, &Spdy::new().syn_stream(1, &[])), Some(StreamType));
    let mut near = Spdy::new();
    let twice =
        [near.syn_stream(1, &[("streamtype", "stdin")]), near.syn_stream(3, &[("streamtype", "stdin")])].concat();
    assert_eq!(of(Side::Client, &twice), Some(DuplicateStream));
    let mut session = Session::new(&exec);
    assert_eq!(feed(&mut session, Side::Client, &[&stdin()]).0, Ok(()));
    assert_eq!(feed(&mut session, Side::Server, &[&data(1, false, b"x")]).0.unwrap_err().fault, WrongDirection);
    assert_eq!(of(Side::Client, &control(3, 0, &[0; 8])), Some(StreamId(0)));
    assert_eq!(of(Side::Client, &control(9, 0, &[0; 8])), Some(Value));
    assert_eq!(of(Side::Client, &control(6, 0, &[0; 4])), Some(Value));
    assert_eq!(of(Side::Client, &control(4, 0, &[0, 0, 0, 2, 0, 0, 0, 7, 0, 1, 0, 0])), Some(FrameLength(4)));
    assert_eq!(of(Side::Client, &control(1, 0, &[0; 30])), Some(Zlib));
    assert_eq!(of(Side::Client, b"\x80\x03\x00\x01\x00\xff\xff\xff"), None);
}

#[test]
fn nothing_of_a_bad_frame_goes_on_and_the_side_is_over() {
    let mut session = Session::new(&exec());
    let good = frame(Side::Client, 0x82, b"\0good");
    let bad = [&good[..], &frame(Side::Client, 0x82, b"\x07bad")].concat();
    let (result, _, passed) = feed(&mut session, Side::Client, &[&bad]);
    assert_eq!(result.unwrap_err().fault, Fault::UnknownChannel(7));
    assert_eq!(passed, good);
    assert!(feed(&mut session, Side::Client, &[&good]).0.is_err());
    // The other side may still say how it ended.
    assert_eq!(feed(&mut session, Side::Server, &[&frame(Side::Server, 0x82, b"\x01out")]).0, Ok(()));
}

#[test]
fn a_client_learns_why_where_a_frame_may_follow() {
    let mut session = Session::new(&exec());
    let mut close = vec![0x88, 8];
    close.extend_from_slice(&1002_u16.to_be_bytes());
    close.extend_from_slice(b"no way");
    assert_eq!(session.farewell("no way"), Some(close));
    assert_eq!(session.farewell(&"ä".repeat(100)).unwrap().len(), 2 + 2 + 122);
    // Inside a frame of the server's nothing can be said.
    let long = frame(Side::Server, 0x82, b"\x01some output");
    feed(&mut session, Side::Server, &[&long[..5]]).0.unwrap();
    assert_eq!(session.farewell("no way"), None);
    assert_eq!(session.end(Side::Server), Err(Fault::Truncated));
    feed(&mut session, Side::Server, &[&long[5..]]).0.unwrap();
    assert!(session.farewell("no way").is_some());
    assert_eq!(session.end(Side::Server), Ok(()));
    // Nor after its end.
    feed(&mut session, Side::Server, &[&frame(Side::Server, 0x88, b"")]).0.unwrap();
    assert_eq!(session.farewell("no way"), None);

    let spdy = Session::new(&Protocol::Spdy(Purpose::Command));
    assert_eq!(spdy.farewell("no way").unwrap(), control(7, 0, &[0, 0, 0, 0, 0, 0, 0, 1]));
}

#[test]
fn after_a_close_nothing_goes_on() {
    let mut session = Session::new(&exec());
    let close = frame(Side::Client, 0x88, b"");
    let more = [&close[..], &frame(Side::Client, 0x82, b"\0more")].concat();
    let (result, seen, passed) = feed(&mut session, Side::Client, &[&more, b"whatever"]);
    assert_eq!(result, Ok(()));
    assert_eq!(passed, close);
    assert_eq!(seen.len(), 2, "{seen:?}");
}
