//! Where a watch may end cleanly: between two events, never inside one.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, header};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::DrainSignal;

/// Ends a watch when the guard drains, at the next boundary between events.
pub(crate) struct WatchEnd {
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    boundary: Boundary,
}

/// How far the stream is from the end of an event.
#[derive(Debug)]
enum Boundary {
    /// JSON: each event ends with a newline. Whether the last byte was one.
    Lines(bool),
    /// Protobuf: each event is four bytes of length, big-endian, and as many bytes.
    Frames { length: [u8; 4], have: usize, remaining: usize },
    /// Anything else: the end of what upstream flushed.
    Any,
}

impl WatchEnd {
    /// For a watch whose answer has `headers`.
    pub(crate) fn new(headers: &HeaderMap, drain: &DrainSignal) -> Self {
        Self { drained: Box::pin(drain.started_owned()), boundary: Boundary::of(headers) }
    }

    /// Takes note of bytes that go to the client.
    pub(crate) fn passed(&mut self, bytes: &[u8]) {
        self.boundary.passed(bytes);
    }

    /// Ready when the stream must end here. Pending registers the waker if it may end here.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.boundary.is_reached() { self.drained.as_mut().poll(cx) } else { Poll::Pending }
    }
}

impl Boundary {
    fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if headers.contains_key(header::CONTENT_ENCODING) {
            Self::Any
        } else if content_type.starts_with("application/json") {
            Self::Lines(true)
        } else if content_type.starts_with("application/vnd.kubernetes.protobuf") {
            Self::Frames { length: [0; 4], have: 0, remaining: 0 }
        } else {
            Self::Any
        }
    }

    fn passed(&mut self, mut bytes: &[u8]) {
        match self {
            Self::Any => {}
            Self::Lines(at_end) => {
                if let Some(last) = bytes.last() {
                    *at_end = *last == b'\n';
                }
            }
            Self::Frames { length, have, remaining } => {
                while let Some(first) = bytes.first() {
                    if *have < length.len() {
                        length[*have] = *first;
                        *have += 1;
                        bytes = &bytes[1..];
                        if *have == length.len() {
                            *remaining = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                        }
                    } else {
                        let taken = bytes.len().min(*remaining);
                        *remaining -= taken;
                        bytes = &bytes[taken..];
                    }
                    if *have == length.len() && *remaining == 0 {
                        *have = 0;
                    }
                }
            }
        }
    }

    fn is_reached(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Lines(at_end) => *at_end,
            Self::Frames { have, .. } => *have == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn boundary(content_type: &'static str) -> Boundary {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Boundary::of(&headers)
    }

    #[test]
    fn a_json_watch_ends_after_a_newline_only() {
        let mut boundary = boundary("application/json");
        assert!(boundary.is_reached());
        boundary.passed(b"{\"type\":\"ADD");
        assert!(!boundary.is_reached());
        boundary.passed(b"ED\"}\n");
        assert!(boundary.is_reached());
    }

    #[test]
    fn a_protobuf_watch_ends_after_a_whole_frame_however_it_is_cut() {
        let stream = [&[0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0], &[0, 0, 1, 0], &[7; 256]].concat();
        let ends = [0, 7, 11, stream.len()];
        for step in 1..stream.len() {
            let mut boundary = boundary("application/vnd.kubernetes.protobuf;stream=watch");
            let mut at = 0;
            for piece in stream.chunks(step) {
                boundary.passed(piece);
                at += piece.len();
                assert_eq!(boundary.is_reached(), ends.contains(&at), "after {at} bytes in pieces of {step}");
            }
        }
    }
}
