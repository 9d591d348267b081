//! WebSocket (RFC 6455): frames, and the channels that Kubernetes puts into their messages.

mod channels;
mod frames;
mod head;
mod mask;

pub(crate) use channels::{CLOSE, Channels};
pub(crate) use frames::{Data, Frames, Piece};
pub(crate) use head::{Opcode, write_head};
