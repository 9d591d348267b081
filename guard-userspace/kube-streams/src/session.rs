//! One upgraded connection, both ways.

use crate::{
    Broken, Channel, Event, Fault, Kind, Payload, Protocol, Purpose, Side,
    base64::Decoder as Base64,
    event::Output,
    resize::SizeReader,
    spdy::{self, Streams, write_goaway},
    websocket::{Channels, Data, Frames, Opcode, Piece, write_head},
};

/// RFC 6455, 7.4.1: an endpoint is terminating the connection due to a protocol error.
const PROTOCOL_ERROR: u16 = 1002;
/// A close frame's text, in bytes, at most: a control frame has 125.
const MAX_REASON: usize = 123;

/// Reads one upgraded connection.
pub struct Session {
    client: Half,
    server: Half,
    streams: Streams,
    sizes: SizeReader,
}

/// What one side sends.
struct Half {
    frames: Option<Frames>,
    inner: Inner,
    /// Once it was at fault: whether what passed before were whole frames.
    broken: Option<bool>,
}

enum Inner {
    Channels(Channels),
    Messages(Option<Base64>),
    Spdy(spdy::Decoder),
}

impl Session {
    /// At its begin, right after the 101.
    pub fn new(protocol: &Protocol) -> Self {
        let purpose = match protocol {
            Protocol::Spdy(purpose) | Protocol::Tunnel(purpose) => purpose.clone(),
            Protocol::Channels { .. } | Protocol::Messages { .. } => Purpose::Other,
        };
        Self {
            client: Half::new(Side::Client, protocol),
            server: Half::new(Side::Server, protocol),
            streams: Streams::new(purpose),
            sizes: SizeReader::default(),
        }
    }

    /// Tells `tap` what `bytes` of a side are, the next ones after those of the last call. The first so many of them go on, with what
    /// `tap` wrote into them: all, unless the side has closed a WebSocket.
    ///
    /// # Errors
    /// What can't be understood: nothing of that side may follow.
    pub fn pass(&mut self, from: Side, bytes: &mut [u8], tap: &mut dyn FnMut(Event<'_>)) -> Result<usize, Broken> {
        let Self { client, server, streams, sizes } = self;
        let half = if from == Side::Client { client } else { server };
        if half.broken.is_some() {
            return Err(Broken { fault: Fault::Truncated, passed: 0, whole: false });
        }
        let passed = half.pass(bytes, streams, &mut Output { tap, sizes });
        if let Err(broken) = &passed {
            half.broken = Some(broken.whole);
        }
        passed
    }

    /// A side's bytes are at their end.
    ///
    /// # Errors
    /// If it ends inside a frame.
    pub fn end(&self, from: Side) -> Result<(), Fault> {
        if self.half(from).is_whole() { Ok(()) } else { Err(Fault::Truncated) }
    }

    /// What tells the client why it can't go on, to be sent after all that passed from the server: a WebSocket close with `reason`, a
    /// SPDY GOAWAY. `None` where that would land inside a frame, or after the end.
    pub fn farewell(&self, reason: &str) -> Option<Vec<u8>> {
        let half = self.half(Side::Server);
        if !half.is_whole() {
            return None;
        }
        let mut out = Vec::new();
        match &half.frames {
            Some(frames) if frames.is_closed() => return None,
            Some(_) => {
                let end = (0..=reason.len().min(MAX_REASON)).rfind(|end| reason.is_char_boundary(*end)).unwrap_or(0);
                write_head(true, Opcode::Close, 2 + end, &mut out);
                out.extend_from_slice(&PROTOCOL_ERROR.to_be_bytes());
                out.extend_from_slice(&reason.as_bytes()[..end]);
            }
            None => write_goaway(self.streams.last(), &mut out),
        }
        Some(out)
    }

    fn half(&self, side: Side) -> &Half {
        if side == Side::Client { &self.client } else { &self.server }
    }
}

impl Half {
    fn new(side: Side, protocol: &Protocol) -> Self {
        let frames = (!matches!(protocol, Protocol::Spdy(_))).then(|| Frames::new(side));
        let inner = match protocol {
            Protocol::Channels { layout, base64, close } => {
                Inner::Channels(Channels::new(side, layout.clone(), *base64, *close))
            }
            // What a client sends there is not base64: its server throws it away.
            Protocol::Messages { base64 } => Inner::Messages((*base64 && side == Side::Server).then(Base64::default)),
            Protocol::Tunnel(_) => Inner::Spdy(spdy::Decoder::new(side, true)),
            Protocol::Spdy(_) => Inner::Spdy(spdy::Decoder::new(side, false)),
        };
        Self { frames, inner, broken: None }
    }

    fn is_whole(&self) -> bool {
        match (&self.broken, &self.frames, &self.inner) {
            (Some(whole), ..) => *whole,
            (None, Some(frames), _) => frames.is_between_frames(),
            (None, None, Inner::Spdy(decoder)) => decoder.is_between_frames(),
            (None, None, _) => true,
        }
    }

    fn pass(&mut self, bytes: &mut [u8], streams: &mut Streams, out: &mut Output<'_>) -> Result<usize, Broken> {
        let Self { frames, inner, .. } = self;
        match (frames, inner) {
            (Some(frames), inner) => frames.pass(bytes, &mut |piece| inner.take(piece, streams, out)),
            (None, Inner::Spdy(decoder)) => decoder.pass(bytes, streams, out).map(|()| bytes.len()),
            (None, _) => Ok(bytes.len()),
        }
    }
}

impl Inner {
    fn take(&mut self, piece: Piece<'_>, streams: &mut Streams, out: &mut Output<'_>) -> Result<(), Fault> {
        let data = match piece {
            Piece::Control(bytes) => {
                out.tell(Event::Control { bytes, tunnelled: false });
                return Ok(());
            }
            Piece::Closing(code) => {
                out.tell(Event::Goodbye { code: code.map(u32::from) });
                return Ok(());
            }
            Piece::Data(data) => data,
        };
        match self {
            Self::Channels(channels) => channels.pass(data, out),
            Self::Messages(base64) => message(base64.as_mut(), data, out),
            Self::Spdy(_) if data.part.text => Err(Fault::TextInTunnel),
            Self::Spdy(decoder) => decoder.pass(data.bytes, streams, out).map_err(|broken| broken.fault),
        }
    }
}

fn message(base64: Option<&mut Base64>, data: Data<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    let channel = Channel { id: 0, kind: Kind::Message };
    let Data { bytes, part, .. } = data;
    let Some(decoder) = base64 else {
        return out.payload(channel, part, Payload::InPlace(bytes));
    };
    out.decoded(decoder, channel, part, bytes)
}
