//! Frames of one side, unmasked while somebody looks.

use super::{
    head::{Head, HeadReader, Opcode},
    mask,
};
use crate::{Broken, Fault, Part, Side};

/// What a frame's bytes are.
pub(crate) enum Piece<'a> {
    /// Of a ping, a pong or a close, its head included; as on the wire.
    Control(&'a [u8]),
    /// The side says that it ends, with this code.
    Closing(Option<u16>),
    /// Of a message.
    Data(Data<'a>),
}

/// A piece of a message. There is at least one for each frame, and one of a frame without payload is empty.
pub(crate) struct Data<'a> {
    pub(crate) bytes: &'a mut [u8],
    /// Where it lies in the message.
    pub(crate) part: Part,
    /// The message is in more frames than one.
    pub(crate) fragmented: bool,
}

/// Reads the frames of one side.
pub(crate) struct Frames {
    side: Side,
    state: State,
    /// The message that a continuation continues.
    message: Option<Message>,
}

#[derive(Clone, Copy)]
struct Message {
    text: bool,
    /// Whether a piece of it was told.
    begun: bool,
    /// Whether it is in more frames than one.
    fragmented: bool,
}

enum State {
    Head(HeadReader),
    Payload {
        head: Head,
        /// How much of it there was.
        done: u64,
        /// The code of a close.
        code: [u8; 2],
    },
    /// After a close, nothing that comes goes on.
    Closed,
}

type Told<'a> = &'a mut dyn FnMut(Piece<'_>) -> Result<(), Fault>;

impl Frames {
    pub(crate) fn new(side: Side) -> Self {
        Self { side, state: State::Head(HeadReader::default()), message: None }
    }

    /// Whether all that passed are whole frames.
    pub(crate) fn is_between_frames(&self) -> bool {
        match &self.state {
            State::Head(reader) => reader.is_empty(),
            State::Payload { .. } => false,
            State::Closed => true,
        }
    }

    /// Whether the side has said that it ends.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Tells what `bytes` are; how many of them go on.
    pub(crate) fn pass(&mut self, bytes: &mut [u8], tell: Told<'_>) -> Result<usize, Broken> {
        let mut at = 0;
        // Where the frame that is being read begins, and whether it does so here.
        let (mut frame, mut whole) = (0, false);
        while at < bytes.len() {
            if self.is_between_frames() {
                (frame, whole) = (at, true);
            }
            if self.is_closed() {
                return Ok(at);
            }
            let step = self.step(&mut bytes[at..], tell);
            at += step.map_err(|fault| Broken { fault, passed: frame, whole })?;
        }
        Ok(at)
    }

    /// Reads a head, or as much of a payload as there is.
    fn step(&mut self, bytes: &mut [u8], tell: Told<'_>) -> Result<usize, Fault> {
        match &mut self.state {
            State::Head(reader) => {
                let (taken, head) = reader.read(self.side, bytes)?;
                let Some(head) = head else { return Ok(taken) };
                let control = head.opcode.is_control();
                if control {
                    tell(Piece::Control(reader.bytes()))?;
                } else {
                    begin(&mut self.message, &head)?;
                }
                if head.opcode == Opcode::Close && head.length == 1 {
                    return Err(Fault::CloseCode);
                }
                self.state = State::Payload { head, done: 0, code: [0; 2] };
                if head.length == 0 {
                    self.payload(&mut [], tell)?;
                }
                Ok(taken)
            }
            State::Payload { head, done, .. } => {
                let left = usize::try_from(head.length - *done).unwrap_or(usize::MAX);
                let take = bytes.len().min(left);
                self.payload(&mut bytes[..take], tell)?;
                Ok(take)
            }
            State::Closed => Ok(0),
        }
    }

    fn payload(&mut self, bytes: &mut [u8], tell: Told<'_>) -> Result<(), Fault> {
        let State::Payload { head, done, code } = &mut self.state else { return Ok(()) };
        let offset = usize::try_from(*done % 4).expect("below four");
        let before = *done;
        *done += bytes.len() as u64;
        let ends = *done == head.length;
        if head.opcode.is_control() {
            tell(Piece::Control(bytes))?;
            for (index, byte) in bytes.iter().enumerate() {
                let place = usize::try_from(before).unwrap_or(usize::MAX) + index;
                if let Some(slot) = code.get_mut(place) {
                    *slot = *byte ^ head.key.map_or(0, |key| key[place]);
                }
            }
        } else {
            let key = head.key.unwrap_or_default();
            let message = self.message.as_mut().expect("a data frame is part of a message");
            let first = !std::mem::replace(&mut message.begun, true);
            let last = ends && head.fin;
            let Message { text, fragmented, .. } = *message;
            if key != [0; 4] {
                mask::apply(key, offset, bytes);
            }
            tell(Piece::Data(Data { bytes: &mut *bytes, part: Part { first, last, text }, fragmented }))?;
            if key != [0; 4] {
                mask::apply(key, offset, bytes);
            }
            if last {
                self.message = None;
            }
        }
        if ends {
            let closing =
                (head.opcode == Opcode::Close).then_some((head.length >= 2).then_some(u16::from_be_bytes(*code)));
            self.state = State::Head(HeadReader::default());
            if let Some(code) = closing {
                if code.is_some_and(|code| !is_sent(code)) {
                    return Err(Fault::CloseCode);
                }
                self.state = State::Closed;
                tell(Piece::Closing(code))?;
            }
        }
        Ok(())
    }
}

/// A data frame begins or continues a message.
fn begin(message: &mut Option<Message>, head: &Head) -> Result<(), Fault> {
    match (head.opcode, &mut *message) {
        (Opcode::Continuation, None) => Err(Fault::StrayContinuation),
        (Opcode::Continuation, Some(_)) => Ok(()),
        (_, Some(_)) => Err(Fault::InterleavedMessage),
        (opcode, None) => {
            *message = Some(Message { text: opcode == Opcode::Text, begun: false, fragmented: !head.fin });
            Ok(())
        }
    }
}

/// Whether a close may carry this code (RFC 6455, 7.4).
fn is_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
