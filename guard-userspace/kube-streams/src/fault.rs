//! Why a stream can't go on.

use thiserror::Error;

/// What a side sent that can't be understood, or could be understood in two ways.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// RFC 6455, 5.2: bits of an extension; none is ever negotiated.
    #[error("a WebSocket frame with reserved bits; no extension was negotiated")]
    ReservedBits,
    /// RFC 6455, 5.2.
    #[error("a WebSocket frame with the reserved opcode {0}")]
    Opcode(u8),
    /// RFC 6455, 5.1.
    #[error("an unmasked WebSocket frame from the client")]
    Unmasked,
    /// RFC 6455, 5.1.
    #[error("a masked WebSocket frame from the server")]
    Masked,
    /// RFC 6455, 5.2: more than 63 bits, or more bytes than the length needs.
    #[error("a WebSocket frame whose length is not in its only form")]
    Length,
    /// RFC 6455, 5.5.
    #[error("a WebSocket control frame in fragments")]
    FragmentedControl,
    /// RFC 6455, 5.5.
    #[error("a WebSocket control frame of more than 125 bytes")]
    OversizedControl,
    /// RFC 6455, 7.4.
    #[error("a WebSocket close frame without a valid code")]
    CloseCode,
    /// RFC 6455, 5.4.
    #[error("a WebSocket continuation without a message that it continues")]
    StrayContinuation,
    /// RFC 6455, 5.4.
    #[error("a new WebSocket message inside another")]
    InterleavedMessage,
    /// The API server takes each frame for a message with a channel of its own, other servers don't.
    #[error("a message in fragments, in a protocol whose servers take each fragment for a message")]
    Fragmented,
    /// The channel protocols.
    #[error("a message for channel {0}, which this protocol does not have")]
    UnknownChannel(u8),
    /// The channel protocols.
    #[error("bytes for a channel that only the other side writes to")]
    WrongDirection,
    /// `v5.channel.k8s.io`.
    #[error("a CLOSE that does not name one channel")]
    CloseSignal,
    /// `v4.channel.k8s.io` for port-forward.
    #[error("a channel whose first message is not its port")]
    PortAnnouncement,
    /// The base64 protocols.
    #[error("a message that is not base64")]
    Base64,
    /// The tunnel of SPDY.
    #[error("a text message where SPDY is carried in binary ones")]
    TextInTunnel,
    /// The resize channel.
    #[error("a terminal size that is not JSON with Width and Height")]
    Resize,
    /// SPDY/3.1, 2.2.
    #[error("a SPDY control frame of version {0}")]
    Version(u16),
    /// SPDY/3.1, 2.6.
    #[error("a SPDY control frame of the unknown type {0}")]
    FrameType(u16),
    /// SPDY/3.1, 2.6.
    #[error("a SPDY control frame of type {0} whose length does not fit")]
    FrameLength(u16),
    /// SPDY/3.1.
    #[error("a SPDY frame with unknown flags")]
    Flags,
    /// SPDY/3.1, 2.6.
    #[error("a SPDY frame with a value that is not allowed")]
    Value,
    /// SPDY/3.1, 2.3.2.
    #[error("the SPDY stream {0} is not one that this side may use")]
    StreamId(u32),
    /// More than a client needs.
    #[error("too many SPDY streams at once")]
    TooManyStreams,
    /// The same channel twice.
    #[error("a second SPDY stream for the same channel")]
    DuplicateStream,
    /// SPDY/3.1, 2.6.10.1.
    #[error("SPDY headers that zlib can't read")]
    Zlib,
    /// More than any client sends.
    #[error("SPDY headers of more than {} bytes", crate::spdy::MAX_HEADERS)]
    HeadersTooLarge,
    /// SPDY/3.1, 2.6.10.
    #[error("SPDY headers whose lengths or names are wrong")]
    Headers,
    /// `k8s.io/api/core/v1`, `StreamType` and `PortHeader`.
    #[error("a SPDY stream without a stream type and port that this request knows")]
    StreamType,
    /// The end.
    #[error("the connection ended inside a frame")]
    Truncated,
}

impl Fault {
    /// Its name, of a bounded set.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved_bits",
            Self::Opcode(_) => "opcode",
            Self::Unmasked => "unmasked",
            Self::Masked => "masked",
            Self::Length => "length",
            Self::FragmentedControl => "fragmented_control",
            Self::OversizedControl => "oversized_control",
            Self::CloseCode => "close_code",
            Self::StrayContinuation => "stray_continuation",
            Self::InterleavedMessage => "interleaved_message",
            Self::Fragmented => "fragmented",
            Self::UnknownChannel(_) => "unknown_channel",
            Self::WrongDirection => "wrong_direction",
            Self::CloseSignal => "close_signal",
            Self::PortAnnouncement => "port_announcement",
            Self::Base64 => "base64",
            Self::TextInTunnel => "text_in_tunnel",
            Self::Resize => "resize",
            Self::Version(_) => "spdy_version",
            Self::FrameType(_) => "spdy_frame_type",
            Self::FrameLength(_) => "spdy_frame_length",
            Self::Flags => "spdy_flags",
            Self::Value => "spdy_value",
            Self::StreamId(_) => "spdy_stream_id",
            Self::TooManyStreams => "spdy_too_many_streams",
            Self::DuplicateStream => "spdy_duplicate_stream",
            Self::Zlib => "spdy_zlib",
            Self::HeadersTooLarge => "spdy_headers_too_large",
            Self::Headers => "spdy_headers",
            Self::StreamType => "spdy_stream_type",
            Self::Truncated => "truncated",
        }
    }
}

/// Where a side's bytes stopped making sense. Nothing more of that side may pass.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{fault}")]
pub struct Broken {
    /// Why.
    pub fault: Fault,
    /// How many bytes of the buffer may still go on: those before the frame that is at fault.
    pub passed: usize,
    /// Whether all that went on are whole frames, so that others may follow.
    pub whole: bool,
}
