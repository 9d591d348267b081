//! What is known of a request by its head alone: whether it is too large, or one too many.

use http::{HeaderMap, Request};

use crate::{
    config::Limits,
    quota::{Held, Limit, Quota},
    refusal::Refusal,
};

/// What a header line costs beside its bytes, as HTTP/2 counts it (RFC 9113, 10.5.1).
const LINE: usize = 32;

/// The account of a request's head, or why it is refused.
pub(crate) type Admission = Result<Held, Refusal>;

/// Judges a head, and takes away from one that is refused what it holds.
pub(crate) fn admit<B>(request: &mut Request<B>, limits: &Limits, quota: &Quota) -> Admission {
    let bytes = bytes(request);
    let admission = if request.headers().len() > limits.headers {
        Err(Limit::Headers)
    } else if u32::try_from(bytes).map_or(true, |bytes| bytes > limits.header_bytes) {
        Err(Limit::HeaderBytes)
    } else {
        quota.held.try_hold(bytes).ok_or(Limit::HeldBytes)
    };
    admission.map_err(|limit| {
        quota.met(limit);
        *request.headers_mut() = HeaderMap::new();
        Refusal::Head(limit)
    })
}

fn bytes<B>(request: &Request<B>) -> usize {
    let lines = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + LINE);
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    target + lines.sum::<usize>()
}
