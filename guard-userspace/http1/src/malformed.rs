//! Why a request is none.

use thiserror::Error;

/// What is wrong with a request. The message is for the client; [`Malformed::reason`] for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A line that ends otherwise than with CR LF, or has a CR within (RFC 9112, 2.2).
    #[error("a line ends with a bare LF or holds a bare CR")]
    LineEnding,
    /// No `method SP target SP version` (RFC 9112, 3).
    #[error("the first line is not a method, a target and a version with one space between")]
    RequestLine,
    /// Neither HTTP/1.1 nor HTTP/1.0; HTTP/2's preface on a connection that agreed on HTTP/1.1.
    #[error("the version is neither HTTP/1.1 nor HTTP/1.0; HTTP/2 is agreed on by ALPN")]
    Version,
    /// No path: the absolute form, the authority form, `*`; a fragment; a character that has to be percent-encoded.
    #[error(
        "the request target is no path of printable ASCII that begins with '/'; send the path alone, percent-encoded"
    )]
    Target,
    /// Longer than [`crate::MAX_TARGET_LEN`].
    #[error("the request target is longer than {} bytes", crate::MAX_TARGET_LEN)]
    TargetTooLong,
    /// CONNECT.
    #[error("CONNECT is not served: this is no tunnel; upgrades use HTTP/1.1")]
    Connect,
    /// A header's name that is no token: empty, or with a space before its colon (RFC 9112, 5.1).
    #[error("a header's name is empty, has a space behind it, or is no token")]
    FieldName,
    /// Something else than printable ASCII, spaces and tabs in a header's value.
    #[error("a header's value holds something else than printable ASCII, spaces and tabs")]
    FieldValue,
    /// A line that continues the last (RFC 9112, 5.2).
    #[error("a header is folded over several lines")]
    Folded,
    /// Two values where one counts.
    #[error("a header is there more than once that only one can count of, such as Host or Content-Length")]
    Duplicate,
    /// `Host` is missing, empty, or no host, or another than HTTP/2's `:authority`.
    #[error("Host is missing, is no host, or differs from :authority")]
    Host,
    /// `Content-Length` that is no plain decimal number.
    #[error("Content-Length is no plain decimal number")]
    ContentLength,
    /// Any `Transfer-Encoding` but `chunked`, alone, in HTTP/1.1.
    #[error("Transfer-Encoding is something else than \"chunked\" alone, or comes with HTTP/1.0")]
    TransferEncoding,
    /// Both lengths (RFC 9112, 6.1).
    #[error("Content-Length and Transfer-Encoding are both there")]
    TwoLengths,
    /// A chunk that is not a plain hexadecimal size, CR LF, as much, CR LF; an extension.
    #[error("a chunk is not a plain hexadecimal size with as many bytes behind it")]
    Chunk,
    /// A header behind the body that decides how a request is read, who asks, or what for.
    #[error("a trailer field has a name that has no place behind the body")]
    Trailer,
    /// An upgrade to something else than WebSocket or SPDY/3.1, or with a body, or of a WebSocket without GET.
    #[error("the upgrade is none to websocket (by GET) or SPDY/3.1, alone and without a body")]
    Upgrade,
    /// Any `Expect` but `100-continue`.
    #[error("Expect asks for something else than 100-continue")]
    Expect,
    /// More bytes than a head may have.
    #[error("the request's headers are too large")]
    TooLarge,
    /// More headers than a head may have.
    #[error("the request has too many headers")]
    TooMany,
}

impl Malformed {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::LineEnding,
        Self::RequestLine,
        Self::Version,
        Self::Target,
        Self::TargetTooLong,
        Self::Connect,
        Self::FieldName,
        Self::FieldValue,
        Self::Folded,
        Self::Duplicate,
        Self::Host,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::TwoLengths,
        Self::Chunk,
        Self::Trailer,
        Self::Upgrade,
        Self::Expect,
        Self::TooLarge,
        Self::TooMany,
    ];

    /// A word for a metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::LineEnding => "line_ending",
            Self::RequestLine => "request_line",
            Self::Version => "version",
            Self::Target => "target",
            Self::TargetTooLong => "target_too_long",
            Self::Connect => "connect",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::Folded => "folded",
            Self::Duplicate => "duplicate",
            Self::Host => "host",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::TwoLengths => "two_lengths",
            Self::Chunk => "chunk",
            Self::Trailer => "trailer",
            Self::Upgrade => "upgrade",
            Self::Expect => "expect",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
        }
    }
}
