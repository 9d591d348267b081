//! Frames of our own for what a server says, where its bytes do not go on as they came: a replacement of another length, or
//! bytes that were held.
//!
//! Each event of the server's side has its method here; what they write, in the order of the events, is the same stream with other
//! payload. Nothing is held, and every call writes whole frames, but for [`Encoder::control`].

use crate::{
    Channel, End, Layout, Part, Protocol, base64,
    spdy::{write_data, write_reset},
    websocket::{CLOSE, Opcode, write_head},
};

/// Writes what a server says.
#[derive(Clone, Debug)]
pub struct Encoder {
    dress: Dress,
    /// A message without channels has begun and not ended.
    in_message: bool,
}

#[derive(Clone, Copy, Debug)]
enum Dress {
    Channels { base64: bool },
    Messages { base64: bool },
    Tunnel,
    Spdy,
}

impl Encoder {
    /// For a session of this protocol.
    pub fn new(protocol: &Protocol) -> Self {
        let dress = match protocol {
            Protocol::Channels { base64, layout: Layout::Command | Layout::Ports(_), .. } => {
                Dress::Channels { base64: *base64 }
            }
            Protocol::Messages { base64 } => Dress::Messages { base64: *base64 },
            Protocol::Tunnel(_) => Dress::Tunnel,
            Protocol::Spdy(_) => Dress::Spdy,
        };
        Self { dress, in_message: false }
    }

    /// [`crate::Event::Control`]: goes on as it is.
    pub fn control(&self, bytes: &[u8], tunnelled: bool, out: &mut Vec<u8>) {
        if tunnelled {
            write_head(true, Opcode::Binary, bytes.len(), out);
        }
        out.extend_from_slice(bytes);
    }

    /// [`crate::Event::Port`].
    pub fn port(&self, channel: Channel, out: &mut Vec<u8>) {
        if let crate::Kind::Data { port } | crate::Kind::PortError { port } = channel.kind {
            self.channel_message(channel, &port.to_le_bytes(), false, out);
        }
    }

    /// [`crate::Event::Payload`], with `bytes` in its place. `part.last` must come for each message that has begun.
    pub fn payload(&mut self, channel: Channel, part: Part, bytes: &[u8], out: &mut Vec<u8>) {
        match self.dress {
            // A channel is a stream of bytes: where its messages are divided means nothing.
            Dress::Channels { .. } => self.channel_message(channel, bytes, part.text, out),
            Dress::Messages { base64 } => self.message(part, bytes, base64, out),
            Dress::Tunnel if !bytes.is_empty() => {
                let mut frames = Vec::with_capacity(bytes.len() + 8);
                write_data(channel.id, false, bytes, &mut frames);
                self.control(&frames, true, out);
            }
            Dress::Spdy if !bytes.is_empty() => write_data(channel.id, false, bytes, out),
            Dress::Tunnel | Dress::Spdy => {}
        }
    }

    /// [`crate::Event::Ended`]. A reset and a FIN with headers have been written already, with their control events; a reset of the
    /// guard's own is written by [`Encoder::reset`].
    pub fn end(&self, channel: Channel, how: End, out: &mut Vec<u8>) {
        match (self.dress, how) {
            (Dress::Channels { .. }, End::Close) => {
                write_head(true, Opcode::Binary, 2, out);
                out.extend_from_slice(&[CLOSE, u8::try_from(channel.id).unwrap_or(u8::MAX)]);
            }
            (Dress::Spdy | Dress::Tunnel, End::Fin) => {
                let mut frame = Vec::with_capacity(8);
                write_data(channel.id, true, &[], &mut frame);
                self.control(&frame, matches!(self.dress, Dress::Tunnel), out);
            }
            _ => {}
        }
    }

    /// Ends one stream of SPDY, as if the server had; nothing where there are no streams.
    pub fn reset(&self, channel: Channel, out: &mut Vec<u8>) {
        if matches!(self.dress, Dress::Spdy | Dress::Tunnel) {
            let mut frame = Vec::with_capacity(16);
            write_reset(channel.id, &mut frame);
            self.control(&frame, matches!(self.dress, Dress::Tunnel), out);
        }
    }

    fn channel_message(&self, channel: Channel, bytes: &[u8], text: bool, out: &mut Vec<u8>) {
        let number = u8::try_from(channel.id).expect("a channel's number is a byte");
        let Dress::Channels { base64: true } = self.dress else {
            write_head(true, if text { Opcode::Text } else { Opcode::Binary }, 1 + bytes.len(), out);
            out.push(number);
            out.extend_from_slice(bytes);
            return;
        };
        let mut message = vec![b'0' + number];
        base64::encode(bytes, &mut message);
        write_head(true, Opcode::Text, message.len(), out);
        out.extend_from_slice(&message);
    }

    /// One piece of a message, as a fragment of it. In base64 each is a message of its own, since groups can't be divided; there,
    /// too, messages are pieces of one stream.
    fn message(&mut self, part: Part, bytes: &[u8], in_base64: bool, out: &mut Vec<u8>) {
        if in_base64 {
            let mut text = Vec::with_capacity(bytes.len() * 4 / 3 + 4);
            base64::encode(bytes, &mut text);
            if !text.is_empty() || part.first {
                write_head(true, Opcode::Text, text.len(), out);
                out.extend_from_slice(&text);
            }
            return;
        }
        if bytes.is_empty() && !part.last {
            return;
        }
        let opcode = match (self.in_message, part.text) {
            (true, _) => Opcode::Continuation,
            (false, true) => Opcode::Text,
            (false, false) => Opcode::Binary,
        };
        write_head(part.last, opcode, bytes.len(), out);
        out.extend_from_slice(bytes);
        self.in_message = !part.last;
    }
}
