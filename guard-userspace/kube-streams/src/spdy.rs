//! SPDY/3.1 as Kubernetes uses it: the client opens streams whose headers say what they carry; no pushes, no flow control.

mod decoder;
mod dictionary;
mod frame;
mod headers;
mod streams;

pub(crate) use decoder::Decoder;
pub(crate) use frame::{write_data, write_goaway, write_reset};
pub(crate) use headers::MAX_HEADERS;
pub(crate) use streams::Streams;
