//! Frames of one side.

use super::{
    frame::{ControlKind, HEAD, Head},
    headers::Blocks,
    streams::Streams,
};
use crate::{Broken, Channel, End, Event, Fault, Part, Payload, Side, event::Output};

/// Reads the frames of one side.
pub(crate) struct Decoder {
    side: Side,
    /// Whether it is in a WebSocket.
    tunnelled: bool,
    state: State,
    /// Made with the first header block.
    blocks: Option<Box<Blocks>>,
}

enum State {
    Head { bytes: [u8; HEAD], filled: usize },
    Data { channel: Channel, fin: bool, length: u32, left: u32 },
    Control { control: Control, left: u32 },
}

/// A control frame, as far as it was read.
struct Control {
    kind: ControlKind,
    fin: bool,
    length: u32,
    fixed: [u8; 10],
    filled: usize,
}

const BETWEEN: State = State::Head { bytes: [0; HEAD], filled: 0 };

impl Decoder {
    pub(crate) fn new(side: Side, tunnelled: bool) -> Self {
        Self { side, tunnelled, state: BETWEEN, blocks: None }
    }

    /// Whether all that passed are whole frames.
    pub(crate) fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Head { filled: 0, .. })
    }

    /// Tells what `bytes` are.
    pub(crate) fn pass(&mut self, bytes: &mut [u8], streams: &mut Streams, out: &mut Output<'_>) -> Result<(), Broken> {
        let mut at = 0;
        let (mut frame, mut whole) = (0, false);
        while at < bytes.len() {
            if self.is_between_frames() {
                (frame, whole) = (at, true);
            }
            let step = self.step(&mut bytes[at..], streams, out);
            at += step.map_err(|fault| Broken { fault, passed: frame, whole })?;
        }
        Ok(())
    }

    fn step(&mut self, input: &mut [u8], streams: &mut Streams, out: &mut Output<'_>) -> Result<usize, Fault> {
        match &mut self.state {
            State::Head { bytes, filled } => {
                let take = input.len().min(HEAD - *filled);
                bytes[*filled..*filled + take].copy_from_slice(&input[..take]);
                *filled += take;
                if *filled == HEAD {
                    let bytes = *bytes;
                    self.begin(bytes, streams, out)?;
                }
                Ok(take)
            }
            State::Data { channel, fin, length, left } => {
                let take = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let first = left == length;
                *left -= u32::try_from(take).expect("at most what is left");
                let (channel, part, fin) = (*channel, Part { first, last: *left == 0, text: false }, *fin);
                if part.last {
                    self.state = BETWEEN;
                }
                out.payload(channel, part, Payload::InPlace(&mut input[..take]))?;
                if part.last && fin {
                    self.end(channel, End::Fin, streams, out);
                }
                Ok(take)
            }
            State::Control { control, left } => {
                let take = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let piece = &input[..take];
                *left -= u32::try_from(take).expect("at most what is left");
                let ends = *left == 0;
                out.tell(Event::Control { bytes: piece, tunnelled: self.tunnelled });
                let block = control.fill(piece);
                if control.kind.has_headers() && !block.is_empty() {
                    self.blocks.get_or_insert_with(|| Box::new(Blocks::new())).read(block)?;
                }
                if ends {
                    let State::Control { control, .. } = std::mem::replace(&mut self.state, BETWEEN) else {
                        return Ok(take);
                    };
                    self.finish(&control, streams, out)?;
                }
                Ok(take)
            }
        }
    }

    /// The head of a frame is there.
    fn begin(&mut self, bytes: [u8; HEAD], streams: &mut Streams, out: &mut Output<'_>) -> Result<(), Fault> {
        self.state = BETWEEN;
        match Head::of(bytes)? {
            Head::Data { stream, fin, length } => {
                let channel = streams.channel(stream)?;
                if length > 0 {
                    if !channel.kind.is_written_by(self.side) {
                        return Err(Fault::WrongDirection);
                    }
                    self.state = State::Data { channel, fin, length, left: length };
                } else if fin {
                    self.end(channel, End::Fin, streams, out);
                }
            }
            Head::Control { kind, fin, length } => {
                match (kind, self.side) {
                    // Only clients open streams, and only servers accept them.
                    (ControlKind::SynStream, Side::Server) | (ControlKind::SynReply, Side::Client) => {
                        return Err(Fault::StreamId(0));
                    }
                    _ => {}
                }
                out.tell(Event::Control { bytes: &bytes, tunnelled: self.tunnelled });
                let control = Control { kind, fin, length, fixed: [0; 10], filled: 0 };
                self.state = State::Control { control, left: length };
            }
        }
        Ok(())
    }

    /// A control frame is whole.
    fn finish(&mut self, control: &Control, streams: &mut Streams, out: &mut Output<'_>) -> Result<(), Fault> {
        let (first, second) = (control.number(0), control.number(4));
        match control.kind {
            ControlKind::SynStream => {
                // No stream of Kubernetes is associated with another; priority and slot mean nothing to it.
                if second != 0 {
                    return Err(Fault::Value);
                }
                let headers = self.blocks.as_mut().ok_or(Fault::Headers)?.end()?;
                let channel = streams.open(first, &headers)?;
                out.tell(Event::Opened { channel, request_id: headers.request_id });
                if control.fin {
                    self.end(channel, End::FinWithHeaders, streams, out);
                }
            }
            ControlKind::SynReply | ControlKind::Headers => {
                self.blocks.as_mut().ok_or(Fault::Headers)?.end()?;
                let channel = streams.channel(first)?;
                if control.fin {
                    self.end(channel, End::FinWithHeaders, streams, out);
                }
            }
            ControlKind::RstStream => {
                let channel = streams.channel(first)?;
                if second == 0 {
                    return Err(Fault::Value);
                }
                streams.reset(first);
                out.tell(Event::Ended { channel, how: End::Reset });
            }
            ControlKind::Settings => {
                if first.checked_mul(8) != Some(control.length - 4) {
                    return Err(Fault::FrameLength(4));
                }
            }
            ControlKind::Ping => {
                if first == 0 {
                    return Err(Fault::Value);
                }
            }
            ControlKind::GoAway => out.tell(Event::Goodbye { code: Some(second) }),
            ControlKind::WindowUpdate => {
                // 0 is the whole connection (SPDY/3.1, 2.6.8).
                if first != 0 {
                    streams.channel(first)?;
                }
                if second == 0 || second > i32::MAX.unsigned_abs() {
                    return Err(Fault::Value);
                }
            }
        }
        Ok(())
    }

    fn end(&self, channel: Channel, how: End, streams: &mut Streams, out: &mut Output<'_>) {
        streams.end(channel.id, self.side);
        out.tell(Event::Ended { channel, how });
    }
}

impl Control {
    /// Takes the fixed part from a piece; the rest of it.
    fn fill<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let take = piece.len().min(usize::from(self.kind.fixed()) - self.filled);
        let (fixed, rest) = piece.split_at(take);
        self.fixed[self.filled..self.filled + take].copy_from_slice(fixed);
        self.filled += take;
        rest
    }

    /// A number of 32 bits in the fixed part.
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.fixed[at..at + 4].try_into().expect("four bytes"))
    }
}
