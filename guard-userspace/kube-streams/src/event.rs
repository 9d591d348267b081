//! What a session tells of the bytes that pass.

use crate::{Channel, Fault, Kind, TerminalSize, base64::Decoder, resize::SizeReader};

/// One thing that was understood, in the order of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes that carry no payload and mean something to the other side: pings, window updates, headers of streams. May be a piece of a
    /// frame; the pieces of one follow each other.
    Control {
        /// As on the wire; unmasked where they are of SPDY in a WebSocket.
        bytes: &'a [u8],
        /// Whether they are of the SPDY inside a WebSocket.
        tunnelled: bool,
    },
    /// The first message of a WebSocket port-forward's channel from the server: its port.
    Port(Channel),
    /// The client opened a SPDY stream.
    Opened {
        /// The new one.
        channel: Channel,
        /// Joins a connection's data and error streams in port-forward.
        request_id: Option<&'a str>,
    },
    /// Bytes of a channel.
    Payload {
        /// Whose.
        channel: Channel,
        /// Where they lie in their message.
        part: Part,
        /// Themselves.
        bytes: Payload<'a>,
    },
    /// The terminal has this size now. Follows the payload that said so.
    Resized(TerminalSize),
    /// This side writes no more to the channel.
    Ended {
        /// Which.
        channel: Channel,
        /// In which way.
        how: End,
    },
    /// This side says that the connection is at its end: a WebSocket close with its code, a SPDY GOAWAY with its status.
    Goodbye {
        /// RFC 6455, 7.4; or 0, 1, 2 for SPDY. `None`: a close without a code.
        code: Option<u32>,
    },
}

/// Where a piece of payload lies in its WebSocket message, or in its SPDY data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Nothing came before it.
    pub first: bool,
    /// Nothing comes after it.
    pub last: bool,
    /// A WebSocket message that is text.
    pub text: bool,
}

/// A piece of payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// As it goes on: what is written here, the other side reads.
    InPlace(&'a mut [u8]),
    /// It goes on as base64. To change it, send frames of one's own.
    Decoded(&'a [u8]),
}

/// How a side ends its use of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SPDY's FIN, with or after data.
    Fin,
    /// SPDY's FIN on a frame of headers, which was told as [`Event::Control`].
    FinWithHeaders,
    /// CLOSE of `v5.channel.k8s.io`.
    Close,
    /// SPDY's RST: neither side uses it any more.
    Reset,
}

impl Payload<'_> {
    /// The bytes, to read.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Decoded(bytes) => bytes,
        }
    }
}

/// Where events go. Sees the sizes in what passes to the resize channel.
pub(crate) struct Output<'a> {
    pub(crate) tap: &'a mut dyn FnMut(Event<'_>),
    pub(crate) sizes: &'a mut SizeReader,
}

impl Output<'_> {
    pub(crate) fn tell(&mut self, event: Event<'_>) {
        (self.tap)(event);
    }

    pub(crate) fn payload(&mut self, channel: Channel, part: Part, bytes: Payload<'_>) -> Result<(), Fault> {
        if channel.kind == Kind::Resize {
            self.sizes.read(bytes.as_bytes())?;
        }
        self.tell(Event::Payload { channel, part, bytes });
        while let Some(size) = self.sizes.next() {
            self.tell(Event::Resized(size));
        }
        Ok(())
    }

    /// A piece of a message in base64. The end of the message is told by an empty piece.
    pub(crate) fn decoded(
        &mut self,
        decoder: &mut Decoder,
        channel: Channel,
        part: Part,
        text: &[u8],
    ) -> Result<(), Fault> {
        // The first characters of a message may say nothing yet.
        let mut first = !decoder.has_told();
        decoder.decode(text, |bytes| {
            let part = Part { first: std::mem::take(&mut first), last: false, ..part };
            self.payload(channel, part, Payload::Decoded(bytes))
        })?;
        if part.last {
            decoder.end()?;
            self.payload(channel, Part { first, ..part }, Payload::Decoded(&[]))?;
        }
        Ok(())
    }
}
