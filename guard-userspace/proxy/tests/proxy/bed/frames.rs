//! HTTP/2 as frames, written as a test says: what a library would never send.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{AGENT_TOKEN, Bed, ClientOptions, PATIENCE, raw_tls, soon};

/// RFC 9113, 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types of RFC 9113, 6.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of RFC 9113, 6.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 32;
    /// A request without a body, in one frame.
    pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// Error codes of RFC 9113, 7.
pub(crate) mod code {
    pub(crate) const PROTOCOL_ERROR: u32 = 1;
    pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(crate) const STREAM_CLOSED: u32 = 5;
    pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
    pub(crate) const REFUSED_STREAM: u32 = 7;
    pub(crate) const COMPRESSION_ERROR: u32 = 9;
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A setting (RFC 9113, 6.5.1).
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A header that goes into no table (RFC 7541, 6.2.2), without Huffman coding.
pub(crate) fn literal(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = vec![0];
    string(&mut bytes, name.as_bytes());
    string(&mut bytes, value.as_ref());
    bytes
}

/// RFC 7541, 5.2.
pub(crate) fn string(into: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        into.push(u8::try_from(rest).unwrap());
    } else {
        into.push(127);
        rest -= 127;
        while rest >= 128 {
            into.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        into.push(u8::try_from(rest).unwrap());
    }
    into.extend_from_slice(text);
}

/// The agent's token.
pub(crate) fn token() -> Vec<u8> {
    literal("authorization", format!("Bearer {AGENT_TOKEN}"))
}

/// A request's pseudo-headers and token: a well-formed header block.
pub(crate) fn block(method: &str, path: &str) -> Vec<u8> {
    let parts = [
        literal(":method", method),
        literal(":scheme", "https"),
        literal(":path", path),
        literal(":authority", "k"),
        token(),
    ];
    parts.concat()
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a `RST_STREAM` or a GOAWAY.
    pub(crate) fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap()))
    }

    /// The status of an answer's head, where the static table has it (RFC 7541, appendix A).
    pub(crate) fn status(&self) -> Option<u16> {
        if self.kind != kind::HEADERS {
            return None;
        }
        let codes = [(0x88, 200), (0x89, 204), (0x8a, 206), (0x8b, 304), (0x8c, 400), (0x8d, 404), (0x8e, 500)];
        // Updates of the table's size come before (RFC 7541, 4.2).
        let first = self.payload.iter().find(|byte| **byte & 0xe0 != 0x20)?;
        Some(codes.iter().find(|(byte, _)| byte == first).map_or(0, |(_, status)| *status))
    }
}

/// A connection of a client that writes frames.
pub(crate) struct Wire(TlsStream<TcpStream>);

impl Wire {
    /// TLS with ALPN `h2`, and nothing sent.
    pub(crate) async fn bare(bed: &Bed) -> Self {
        Self(raw_tls(bed.address, &bed.roots, &ClientOptions::http2()).await.unwrap())
    }

    /// After the preface and the exchange of settings.
    pub(crate) async fn connect(bed: &Bed) -> Self {
        let mut wire = Self::bare(bed).await;
        wire.send(&[PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat()).await;
        let mut settings = 0;
        while settings < 2 {
            // Theirs, and the acknowledgement of ours.
            settings += usize::from(wire.next().await.unwrap().kind == kind::SETTINGS);
        }
        wire.send(&frame(kind::SETTINGS, flag::ACK, 0, &[])).await;
        wire
    }

    /// Sends what can be sent: the other side may have closed already.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sent = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        let _ = soon("the client's bytes", sent).await;
    }

    /// The next frame; none at the end, whatever it is.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        soon("a frame", self.0.read_exact(&mut head)).await.ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        soon("a frame's payload", self.0.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until a frame is the one looked for, which is the last of what is returned; or to the end, or as long as patience lasts.
    pub(crate) async fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        let reading = async {
            while let Some(frame) = self.next().await {
                let found = is_it(&frame);
                frames.push(frame);
                if found {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(PATIENCE / 2, reading).await;
        frames
    }
}
