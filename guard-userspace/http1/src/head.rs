//! A request's head, line by line, and what it says about the bytes that follow.

use crate::characters::{is_host, is_path, is_token};
use crate::fields::{Field, SINGLES};
use crate::{MAX_TARGET_LEN, Malformed};

/// Decimal digits of a `Content-Length` at most: what fits 63 bits whatever they are.
const LENGTH_DIGITS: usize = 18;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    /// So many bytes of body, then another head.
    Length(u64),
    /// Chunks, then another head.
    Chunks,
    /// Another protocol. If the upgrade is refused, nothing: the answer ends the connection.
    Upgrade,
}

/// What has been read of a head so far.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Once it is read.
    request_line: Option<RequestLine>,
    fields: usize,
    seen: [bool; SINGLES],
    host: bool,
    length: Option<u64>,
    chunked: bool,
    asks_to_upgrade: bool,
    protocol: Option<Protocol>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RequestLine {
    version: Version,
    is_get: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// What `Upgrade` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    WebSocket,
    Spdy,
    Other,
}

impl Head {
    /// Takes a line, without its ending. The empty one ends the head.
    pub(crate) fn line(&mut self, line: &[u8], most_fields: usize) -> Result<Option<Follows>, Malformed> {
        let Some(request_line) = self.request_line else {
            self.request_line = Some(RequestLine::parse(line)?);
            return Ok(None);
        };
        if line.is_empty() {
            return self.end(request_line).map(Some);
        }
        self.fields += 1;
        if self.fields > most_fields {
            return Err(Malformed::TooMany);
        }
        self.field(request_line, Field::parse(line)?)?;
        Ok(None)
    }

    fn field(&mut self, request_line: RequestLine, field: Field<'_>) -> Result<(), Malformed> {
        if let Some(place) = field.single()
            && std::mem::replace(&mut self.seen[place], true)
        {
            return Err(Malformed::Duplicate);
        }
        if field.is("host") {
            self.host = is_host(field.value);
            if !self.host {
                return Err(Malformed::Host);
            }
        } else if field.is("content-length") {
            self.length = Some(length(field.value)?);
        } else if field.is("transfer-encoding") {
            self.chunked = field.value.eq_ignore_ascii_case(b"chunked");
            if !self.chunked || request_line.version == Version::Http10 {
                return Err(Malformed::TransferEncoding);
            }
        } else if field.is("connection") {
            self.asks_to_upgrade |= field.lists("upgrade");
        } else if field.is("upgrade") {
            self.protocol = Some(Protocol::of(field.value));
        } else if field.is("expect") && !field.value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Malformed::Expect);
        }
        Ok(())
    }

    fn end(&self, request_line: RequestLine) -> Result<Follows, Malformed> {
        if !self.host && request_line.version == Version::Http11 {
            return Err(Malformed::Host);
        }
        if self.length.is_some() && self.chunked {
            return Err(Malformed::TwoLengths);
        }
        if let Some(protocol) = self.protocol {
            return self.upgrade(request_line, protocol);
        }
        Ok(if self.chunked { Follows::Chunks } else { Follows::Length(self.length.unwrap_or(0)) })
    }

    /// Somebody takes `Upgrade` without `Connection` for one, somebody else does not.
    fn upgrade(&self, request_line: RequestLine, protocol: Protocol) -> Result<Follows, Malformed> {
        let allowed = match protocol {
            Protocol::WebSocket => request_line.is_get,
            Protocol::Spdy => true,
            Protocol::Other => false,
        };
        let bodiless = !self.chunked && self.length.unwrap_or(0) == 0;
        if allowed && bodiless && self.asks_to_upgrade && request_line.version == Version::Http11 {
            Ok(Follows::Upgrade)
        } else {
            Err(Malformed::Upgrade)
        }
    }
}

impl RequestLine {
    fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Malformed::RequestLine);
        };
        if !is_token(method) {
            return Err(Malformed::RequestLine);
        }
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            _ => return Err(Malformed::Version),
        };
        if method == b"CONNECT" {
            return Err(Malformed::Connect);
        }
        if target.len() > MAX_TARGET_LEN {
            return Err(Malformed::TargetTooLong);
        }
        if !is_path(target) {
            return Err(Malformed::Target);
        }
        Ok(Self { version, is_get: method == b"GET" })
    }
}

impl Protocol {
    fn of(value: &[u8]) -> Self {
        if value.eq_ignore_ascii_case(b"websocket") {
            Self::WebSocket
        } else if value.eq_ignore_ascii_case(b"SPDY/3.1") {
            Self::Spdy
        } else {
            Self::Other
        }
    }
}

/// Digits alone, none of them in vain: `+5`, `05`, `5, 5` and `0x5` are read differently by different readers.
fn length(value: &[u8]) -> Result<u64, Malformed> {
    let plain = value == b"0" || !value.starts_with(b"0");
    if !plain || value.is_empty() || value.len() > LENGTH_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::ContentLength);
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}
