//! Events as a test compares them: pieces of one thing are one.

use guard_kube_streams::{Broken, Channel, End, Event, Part, Session, Side, TerminalSize};

/// An event that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Control(Vec<u8>, bool),
    Port(Channel),
    Opened(Channel, Option<String>),
    Payload(Channel, Part, Vec<u8>),
    Resized(TerminalSize),
    Ended(Channel, End),
    Goodbye(Option<u32>),
}

/// What is told of a side's bytes, given in `pieces`; and those that went on.
pub(crate) fn feed(session: &mut Session, side: Side, pieces: &[&[u8]]) -> (Result<(), Broken>, Vec<Seen>, Vec<u8>) {
    let (mut seen, mut passed) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut buffer = piece.to_vec();
        match session.pass(side, &mut buffer, &mut |event| note(&mut seen, event)) {
            Ok(length) => passed.extend_from_slice(&buffer[..length]),
            Err(broken) => {
                passed.extend_from_slice(&buffer[..broken.passed]);
                return (Err(broken), seen, passed);
            }
        }
    }
    (Ok(()), seen, passed)
}

/// Adds an event, to the one before it if they are pieces of one thing.
pub(crate) fn note(seen: &mut Vec<Seen>, event: Event<'_>) {
    let next = match event {
        Event::Control { bytes, tunnelled } => Seen::Control(bytes.to_vec(), tunnelled),
        Event::Port(channel) => Seen::Port(channel),
        Event::Opened { channel, request_id } => Seen::Opened(channel, request_id.map(str::to_owned)),
        Event::Payload { channel, part, bytes } => Seen::Payload(channel, part, bytes.as_bytes().to_vec()),
        Event::Resized(size) => Seen::Resized(size),
        Event::Ended { channel, how } => Seen::Ended(channel, how),
        Event::Goodbye { code } => Seen::Goodbye(code),
    };
    merge(seen, next);
}

/// The same for one that owns its bytes. A size is told as soon as it is there, which may be before the end of its payload.
pub(crate) fn merge(seen: &mut Vec<Seen>, next: Seen) {
    let before = seen.iter_mut().rfind(|event| !matches!(event, Seen::Resized(_)));
    match (before, next) {
        (Some(Seen::Control(bytes, tunnelled)), Seen::Control(more, again)) if *tunnelled == again => {
            bytes.extend(more);
        }
        (Some(Seen::Payload(channel, part, bytes)), Seen::Payload(same, next, more))
            if *channel == same && !part.last && !next.first =>
        {
            bytes.extend(more);
            part.last = next.last;
        }
        (_, next) => seen.push(next),
    }
}

/// The payload of each channel, in the order of their first bytes.
pub(crate) fn payloads(seen: &[Seen]) -> Vec<(Channel, Vec<u8>)> {
    let mut payloads: Vec<(Channel, Vec<u8>)> = Vec::new();
    for event in seen {
        if let Seen::Payload(channel, _, bytes) = event {
            match payloads.iter_mut().find(|(known, _)| known == channel) {
                Some((_, held)) => held.extend_from_slice(bytes),
                None => payloads.push((*channel, bytes.clone())),
            }
        }
    }
    payloads
}
