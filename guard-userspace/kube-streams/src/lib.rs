//! What flows after a 101: exec, attach, port-forward and watches, over WebSocket and over SPDY/3.1, as typed channels.
//!
//! A [`Session`] is given the bytes of both sides as they come, cut anywhere, and tells what they are: [`Event`]s. It holds no payload: a
//! frame of a gigabyte passes in the pieces in which it arrives. The bytes go on in the very buffer in which they came, so whoever only
//! looks pays for no copy, and whoever replaces bytes by as many others writes them in place ([`Payload::InPlace`]). A
//! replacement of another length goes out in frames of its own ([`Encoder`]).
//!
//! The readers at both ends are lenient, each in its own way: `golang.org/x/net/websocket`, which serves exec, takes each *frame* for a
//! message, ignores the reserved bits and takes reserved opcodes for data; `github.com/moby/spdystream` ignores the lengths of most
//! control frames and reads what a header block has left as the begin of the next. So bytes that two readers may take for different
//! things are a [`Fault`], which ends the stream.
//!
//! Pure: no I/O, no clock, no randomness.

#![forbid(unsafe_code)]

mod base64;
mod channel;
mod encode;
mod event;
mod exit;
mod fault;
mod protocol;
mod resize;
mod session;
mod spdy;
mod websocket;

pub use channel::{Channel, Kind, Side};
pub use encode::Encoder;
pub use event::{End, Event, Part, Payload};
pub use exit::Exit;
pub use fault::{Broken, Fault};
pub use protocol::{Layout, Protocol, Purpose, UnknownProtocol, Upgrade};
pub use resize::TerminalSize;
pub use session::Session;
