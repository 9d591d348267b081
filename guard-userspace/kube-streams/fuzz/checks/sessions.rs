//! What holds of a session whatever its sides say: cut or whole it is told the same, what passes passes as it is, and what is framed
//! anew says the same.

use guard_kube_streams::{
    Channel, Encoder, End, Event, Fault, Protocol, Purpose, Session, Side, TerminalSize, Upgrade,
};

/// What is told of one side, without where its pieces begin and end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    payload: Vec<(Channel, Vec<u8>)>,
    control: Vec<u8>,
    opened: Vec<(Channel, Option<String>)>,
    sizes: Vec<TerminalSize>,
    ends: Vec<(Channel, End)>,
    goodbyes: Vec<Option<u32>>,
    ports: Vec<Channel>,
    passed: Vec<u8>,
    fault: Option<Fault>,
}

impl Told {
    fn note(&mut self, event: Event<'_>) {
        match event {
            Event::Control { bytes, .. } => self.control.extend_from_slice(bytes),
            Event::Port(channel) => self.ports.push(channel),
            Event::Opened { channel, request_id } => self.opened.push((channel, request_id.map(str::to_owned))),
            Event::Payload { channel, bytes, .. } if !bytes.as_bytes().is_empty() => match self.payload.last_mut() {
                Some((last, held)) if *last == channel => held.extend_from_slice(bytes.as_bytes()),
                _ => self.payload.push((channel, bytes.as_bytes().to_vec())),
            },
            Event::Payload { .. } => {}
            Event::Resized(size) => self.sizes.push(size),
            Event::Ended { channel, how } => self.ends.push((channel, how)),
            Event::Goodbye { code } => self.goodbyes.push(code),
        }
    }
}

/// Gives a session what its sides say in turn, in pieces of `piece` bytes at most.
pub(crate) fn run(protocol: &Protocol, said: &[(Side, &[u8])], piece: usize) -> [Told; 2] {
    let mut session = Session::new(protocol);
    let mut told = [Told::default(), Told::default()];
    for (side, bytes) in said {
        let told = &mut told[usize::from(*side == Side::Server)];
        for bytes in bytes.chunks(piece) {
            if told.fault.is_some() {
                break;
            }
            let mut buffer = bytes.to_vec();
            let mut events = Vec::new();
            let passed = session.pass(*side, &mut buffer, &mut |event| {
                // Taken apart at once: events borrow the bytes.
                let mut one = Told::default();
                one.note(event);
                events.push(one);
            });
            assert!(passed.as_ref().map_or_else(|broken| broken.passed, |passed| *passed) <= buffer.len());
            match passed {
                Ok(passed) => {
                    assert_eq!(buffer, bytes, "what nobody changed goes on as it came");
                    told.passed.extend_from_slice(&buffer[..passed]);
                }
                Err(broken) => {
                    told.passed.extend_from_slice(&bytes[..broken.passed]);
                    told.fault = Some(broken.fault);
                    // What it may say then never is a second fault.
                    let _ = session.farewell("over");
                }
            }
            for event in events {
                told.add(event);
            }
        }
    }
    told
}

impl Told {
    fn add(&mut self, other: Self) {
        for (channel, bytes) in other.payload {
            match self.payload.last_mut() {
                Some((last, held)) if *last == channel => held.extend(bytes),
                _ => self.payload.push((channel, bytes)),
            }
        }
        self.control.extend(other.control);
        self.opened.extend(other.opened);
        self.sizes.extend(other.sizes);
        self.ends.extend(other.ends);
        self.goodbyes.extend(other.goodbyes);
        self.ports.extend(other.ports);
    }
}

/// Whole and in pieces the sides are told the same, up to the same fault; then framed anew, the server says the same.
pub(crate) fn check(protocol: &Protocol, said: &[(Side, &[u8])], piece: usize) {
    let whole = run(protocol, said, usize::MAX);
    let pieces = run(protocol, said, piece.max(1));
    for (mut whole, mut pieces) in whole.into_iter().zip(pieces) {
        if whole.fault.is_some() {
            // How much of a frame that is at fault was told, and went on, before it was known to be is a matter of the pieces.
            assert_eq!(whole.fault, pieces.fault);
            for told in [&mut whole, &mut pieces] {
                told.passed.clear();
                told.control.clear();
                told.payload.clear();
                told.sizes.clear();
            }
        }
        assert_eq!(whole, pieces);
    }
    frame_anew(protocol, said);
}

/// The session with the server's side in frames of our own.
fn frame_anew(protocol: &Protocol, said: &[(Side, &[u8])]) {
    let (mut here, mut there) = (Session::new(protocol), Session::new(protocol));
    let mut encoder = Encoder::new(protocol);
    let (mut before, mut after) = (Told::default(), Told::default());
    for (side, bytes) in said {
        let mut buffer = bytes.to_vec();
        if *side == Side::Client {
            let one = here.pass(*side, &mut buffer, &mut |_| {});
            // What is at fault is not restored: it goes nowhere.
            let two = there.pass(*side, &mut bytes.to_vec(), &mut |_| {});
            assert_eq!(one, two);
            if one.is_err() {
                return;
            }
            continue;
        }
        let mut out = Vec::new();
        let passed = here.pass(*side, &mut buffer, &mut |event| {
            match &event {
                Event::Control { bytes, tunnelled } => encoder.control(bytes, *tunnelled, &mut out),
                Event::Port(channel) => encoder.port(*channel, &mut out),
                Event::Payload { channel, part, bytes } => encoder.payload(*channel, *part, bytes.as_bytes(), &mut out),
                Event::Ended { channel, how } => encoder.end(*channel, *how, &mut out),
                Event::Opened { .. } | Event::Resized(_) | Event::Goodbye { .. } => {}
            }
            before.note(event);
        });
        if passed.is_err() {
            return;
        }
        there.pass(*side, &mut out, &mut |event| after.note(event)).expect("what we frame can be read");
    }
    assert_eq!((before.payload, before.ends, before.ports), (after.payload, after.ends, after.ports));
}

/// The protocol that a number stands for.
pub(crate) fn protocol(number: u8) -> Protocol {
    let websocket = |name: &str, purpose| Protocol::of(Upgrade::WebSocket, Some(name), purpose).expect("it is known");
    let ports = || Purpose::PortForward(vec![80, 8080]);
    match number % 9 {
        0 => websocket("v5.channel.k8s.io", Purpose::Command),
        1 => websocket("v4.channel.k8s.io", Purpose::Command),
        2 => websocket("base64.channel.k8s.io", Purpose::Command),
        3 => websocket("v4.channel.k8s.io", ports()),
        4 => websocket("", Purpose::Other),
        5 => websocket("base64.binary.k8s.io", Purpose::Log),
        6 => websocket("SPDY/3.1+portforward.k8s.io", ports()),
        7 => Protocol::Spdy(Purpose::Command),
        _ => Protocol::Spdy(ports()),
    }
}
