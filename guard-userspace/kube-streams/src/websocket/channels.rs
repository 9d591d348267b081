//! Messages that begin with the number of a channel (`k8s.io/streaming/pkg/httpstream/wsstream`).

use super::Data;
use crate::{Channel, End, Event, Fault, Kind, Layout, Part, Payload, Side, base64::Decoder, event::Output};

/// The number that ends a channel in version 5.
pub(crate) const CLOSE: u8 = 255;

/// Reads the messages of one side.
pub(crate) struct Channels {
    side: Side,
    layout: Layout,
    close: bool,
    base64: Option<Decoder>,
    message: Message,
    /// Which channels of the server have told their port.
    announced: Vec<bool>,
}

/// What a message is, as far as it was read.
enum Message {
    /// Its first byte is to come.
    Begins,
    Of(Channel),
    /// CLOSE: the number of the channel is to come, or was there.
    Close(Option<Channel>),
    /// A channel's port: two bytes, the lower one first.
    Port {
        channel: Channel,
        bytes: Vec<u8>,
    },
}

impl Channels {
    pub(crate) fn new(side: Side, layout: Layout, base64: bool, close: bool) -> Self {
        let announced = match &layout {
            Layout::Ports(ports) if side == Side::Server => vec![false; ports.len() * 2],
            _ => Vec::new(),
        };
        let base64 = base64.then(Decoder::default);
        Self { side, layout, close, base64, message: Message::Begins, announced }
    }

    pub(crate) fn pass(&mut self, data: Data<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
        let Data { bytes, part: Part { first, last, text }, fragmented } = data;
        // Its server takes each frame for a message, the RFC does not: no client of Kubernetes sends them.
        if fragmented && self.side == Side::Client {
            return Err(Fault::Fragmented);
        }
        if first {
            self.message = Message::Begins;
        }
        let begins = matches!(self.message, Message::Begins);
        // An empty message says nothing, on either side.
        if begins && bytes.is_empty() {
            return Ok(());
        }
        let (number, rest) = bytes.split_at_mut(usize::from(begins));
        if let Some(number) = number.first() {
            self.message = self.begin(*number)?;
        }
        match &mut self.message {
            Message::Begins => Ok(()),
            Message::Of(channel) => {
                if !channel.kind.is_written_by(self.side) {
                    // Nothing is said by what is empty, or has its bytes yet to come.
                    return if rest.is_empty() { Ok(()) } else { Err(Fault::WrongDirection) };
                }
                let channel = *channel;
                let part = Part { first: begins, last, text };
                self.payload(channel, part, rest, out)
            }
            Message::Close(named) => {
                for number in rest {
                    let channel = channel(&self.layout, *number)?;
                    if named.replace(channel).is_some() {
                        return Err(Fault::CloseSignal);
                    }
                }
                match named {
                    Some(channel) if last => out.tell(Event::Ended { channel: *channel, how: End::Close }),
                    None if last => return Err(Fault::CloseSignal),
                    _ => {}
                }
                Ok(())
            }
            Message::Port { .. } => self.port(rest, last, out),
        }
    }

    fn begin(&mut self, number: u8) -> Result<Message, Fault> {
        if self.close && number == CLOSE {
            return Ok(Message::Close(None));
        }
        let number = if self.base64.is_some() { number.wrapping_sub(b'0') } else { number };
        let channel = channel(&self.layout, number)?;
        match self.announced.get_mut(usize::from(number)) {
            Some(announced) if !*announced => {
                *announced = true;
                Ok(Message::Port { channel, bytes: Vec::with_capacity(2) })
            }
            _ => Ok(Message::Of(channel)),
        }
    }

    fn payload(&mut self, channel: Channel, part: Part, bytes: &mut [u8], out: &mut Output<'_>) -> Result<(), Fault> {
        match &mut self.base64 {
            Some(decoder) => out.decoded(decoder, channel, part, bytes),
            None => out.payload(channel, part, Payload::InPlace(bytes)),
        }
    }

    fn port(&mut self, rest: &[u8], last: bool, out: &mut Output<'_>) -> Result<(), Fault> {
        let Message::Port { channel, bytes: held } = &mut self.message else { return Ok(()) };
        let mut keep = |piece: &[u8]| {
            held.extend_from_slice(&piece[..piece.len().min(3)]);
            if held.len() > 2 { Err(Fault::PortAnnouncement) } else { Ok(()) }
        };
        match &mut self.base64 {
            Some(decoder) => {
                decoder.decode(rest, keep)?;
                if last {
                    decoder.end()?;
                }
            }
            None => keep(rest)?,
        }
        if last {
            let expected = match channel.kind {
                Kind::Data { port } | Kind::PortError { port } => port.to_le_bytes(),
                _ => return Err(Fault::PortAnnouncement),
            };
            if *held != expected {
                return Err(Fault::PortAnnouncement);
            }
            out.tell(Event::Port(*channel));
        }
        Ok(())
    }
}

/// The channel of a number.
fn channel(layout: &Layout, number: u8) -> Result<Channel, Fault> {
    let kind = match layout {
        Layout::Command => {
            [Kind::Stdin, Kind::Stdout, Kind::Stderr, Kind::Error, Kind::Resize].get(usize::from(number)).copied()
        }
        Layout::Ports(ports) => ports.get(usize::from(number / 2)).map(|port| {
            if number.is_multiple_of(2) { Kind::Data { port: *port } } else { Kind::PortError { port: *port } }
        }),
    };
    let kind = kind.ok_or(Fault::UnknownChannel(number))?;
    Ok(Channel { id: number.into(), kind })
}
