//! The streams of one connection, which both sides use.

use std::collections::HashMap;

use super::headers::StreamHeaders;
use crate::{Channel, Fault, Kind, Purpose, Side};

/// Streams at once, at most: 4,096 connections through one port-forward.
const MAX_STREAMS: usize = 8192;

/// The streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams {
    purpose: Purpose,
    open: HashMap<u32, Open>,
    /// The highest id so far.
    last: u32,
    /// Kinds that exec has only one of.
    seen: Vec<Kind>,
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    client_ended: bool,
    server_ended: bool,
}

impl Streams {
    pub(crate) fn new(purpose: Purpose) -> Self {
        Self { purpose, open: HashMap::new(), last: 0, seen: Vec::new() }
    }

    pub(crate) fn last(&self) -> u32 {
        self.last
    }

    /// The client opens one.
    pub(super) fn open(&mut self, id: u32, headers: &StreamHeaders<'_>) -> Result<Channel, Fault> {
        // Ids of a client are odd and grow (SPDY/3.1, 2.3.2).
        if id.is_multiple_of(2) || id <= self.last {
            return Err(Fault::StreamId(id));
        }
        if self.open.len() == MAX_STREAMS {
            return Err(Fault::TooManyStreams);
        }
        let kind = self.kind(headers)?;
        if self.purpose == Purpose::Command {
            if self.seen.contains(&kind) {
                return Err(Fault::DuplicateStream);
            }
            self.seen.push(kind);
        }
        self.last = id;
        self.open.insert(id, Open { kind, client_ended: false, server_ended: false });
        Ok(Channel { id, kind })
    }

    /// The channel of a stream that there is or was.
    pub(super) fn channel(&self, id: u32) -> Result<Channel, Fault> {
        if id.is_multiple_of(2) || id > self.last {
            return Err(Fault::StreamId(id));
        }
        Ok(Channel { id, kind: self.open.get(&id).map_or(Kind::Closed, |stream| stream.kind) })
    }

    /// A side writes no more to it.
    pub(super) fn end(&mut self, id: u32, side: Side) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        match side {
            Side::Client => stream.client_ended = true,
            Side::Server => stream.server_ended = true,
        }
        if stream.client_ended && stream.server_ended {
            self.open.remove(&id);
        }
    }

    /// Nobody uses it any more.
    pub(super) fn reset(&mut self, id: u32) {
        self.open.remove(&id);
    }

    fn kind(&self, headers: &StreamHeaders<'_>) -> Result<Kind, Fault> {
        let port = headers.port.map(|port| {
            // `+80` is a number for Rust, and none for Go.
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            port.parse().ok().filter(|port: &u16| digits && *port > 0).ok_or(Fault::StreamType)
        });
        let port = port.transpose()?;
        let of_command = || match headers.stream_type {
            Some("stdin") => Some(Kind::Stdin),
            Some("stdout") => Some(Kind::Stdout),
            Some("stderr") => Some(Kind::Stderr),
            Some("error") => Some(Kind::Error),
            Some("resize") => Some(Kind::Resize),
            _ => None,
        };
        let of_port = || match (headers.stream_type, port) {
            (Some("data"), Some(port)) => Some(Kind::Data { port }),
            (Some("error"), Some(port)) => Some(Kind::PortError { port }),
            _ => None,
        };
        match self.purpose {
            Purpose::Command => of_command().ok_or(Fault::StreamType),
            Purpose::PortForward(_) => of_port().ok_or(Fault::StreamType),
            Purpose::Log | Purpose::Other => Ok(of_port().or_else(of_command).unwrap_or(Kind::Message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(stream_type: &'a str, port: Option<&'a str>) -> StreamHeaders<'a> {
        StreamHeaders { stream_type: Some(stream_type), port, request_id: None }
    }

    #[test]
    fn ids_are_odd_and_grow() {
        let mut streams = Streams::new(Purpose::Command);
        assert!(streams.open(3, &headers("stdin", None)).is_ok());
        for id in [0, 1, 3, 4] {
            assert_eq!(streams.open(id, &headers("stdout", None)), Err(Fault::StreamId(id)));
        }
        assert!(streams.open(5, &headers("stdout", None)).is_ok());
        assert_eq!(streams.channel(7), Err(Fault::StreamId(7)));
        assert_eq!(streams.channel(1).unwrap().kind, Kind::Closed);
    }

    #[test]
    fn a_stream_is_gone_when_both_sides_have_ended_it() {
        let mut streams = Streams::new(Purpose::Command);
        streams.open(1, &headers("stdin", None)).unwrap();
        streams.end(1, Side::Client);
        assert_eq!(streams.channel(1).unwrap().kind, Kind::Stdin);
        streams.end(1, Side::Server);
        assert_eq!(streams.channel(1).unwrap().kind, Kind::Closed);
    }

    #[test]
    fn a_second_stdin_is_refused() {
        let mut streams = Streams::new(Purpose::Command);
        streams.open(1, &headers("stdin", None)).unwrap();
        assert_eq!(streams.open(3, &headers("stdin", None)), Err(Fault::DuplicateStream));
    }

    #[test]
    fn a_port_is_a_number_as_go_reads_it() {
        let mut streams = Streams::new(Purpose::PortForward(vec![]));
        for bad in [None, Some(""), Some("0"), Some("+80"), Some("65536"), Some("8O")] {
            assert_eq!(streams.open(1, &headers("data", bad)), Err(Fault::StreamType), "{bad:?}");
        }
        assert_eq!(streams.open(1, &headers("data", Some("080"))).unwrap().kind, Kind::Data { port: 80 });
        assert_eq!(streams.open(3, &headers("stdin", Some("80"))), Err(Fault::StreamType));
    }

    #[test]
    fn streams_are_bounded_at_once_and_not_over_time() {
        let mut streams = Streams::new(Purpose::PortForward(vec![]));
        let mut id = 1;
        for _ in 0..MAX_STREAMS {
            streams.open(id, &headers("data", Some("80"))).unwrap();
            id += 2;
        }
        assert_eq!(streams.open(id, &headers("data", Some("80"))), Err(Fault::TooManyStreams));
        streams.reset(1);
        assert!(streams.open(id, &headers("data", Some("80"))).is_ok());
    }
}
