//! Sends a request; again only what provably was not processed.

use http::{HeaderMap, Method, Request, Response, Uri, header, uri};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;

use super::{
    DialError, Lease, Pool, SendError,
    dial::{Dialed, Offer},
    pool::Acquired,
};
use crate::body::RequestBody;

/// How often a request is tried that is handed back unsent because its connection closed at that moment.
const ATTEMPTS: usize = 4;

/// Sends `request` (URI in origin form) on one of the workload's connections.
pub(crate) async fn send(
    pool: &Pool,
    mut request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Lease), SendError> {
    let mut last = SendError::NoFreeStream;
    for _ in 0..ATTEMPTS {
        let spare = Spare::of(&request);
        let acquired = pool.acquire().await?;
        address(pool, &mut request, matches!(acquired, Acquired::Http2(..)))?;
        let sent = match acquired {
            Acquired::Http2(mut sender, lease) => {
                sender.try_send_request(request).await.map(|response| (response, lease))
            }
            Acquired::Http1(mut sender) => match sender.try_send_request(request).await {
                Ok(response) => Ok((response, pool.lease_whole(sender))),
                Err(error) => Err(error),
            },
        };
        let mut error = match sent {
            Ok(answered) => return Ok(answered),
            Err(error) => error,
        };
        let unsent = error.take_message();
        let error = error.into_error();
        last = if is_unprocessed(&error) || unsent.is_some() {
            SendError::Unprocessed(chain(&error))
        } else {
            return Err(SendError::Broken(chain(&error)));
        };
        match unsent.or_else(|| spare.map(Spare::into_request)) {
            Some(again) => request = again,
            None => break,
        }
    }
    Err(last)
}

/// Sends a request that may be answered with 101, on a connection of its own.
pub(crate) async fn connect_for_upgrade(
    pool: &Pool,
    mut request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Lease), SendError> {
    let dial = |error| SendError::Dial(std::sync::Arc::new(error));
    address(pool, &mut request, false)?;
    let Dialed { stream, address } = pool.dialer().dial(Offer::Http11).await.map_err(dial)?;
    let (mut sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| dial(DialError::Http { address, source }))?;
    let metrics = std::sync::Arc::clone(pool.metrics());
    metrics.upstream_connections.inc();
    pool.turns().spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an upgraded connection to the API server ended");
        }
        metrics.upstream_connections.dec();
    });
    let response = sender.send_request(request).await.map_err(|error| SendError::Broken(chain(&error)))?;
    Ok((response, Lease::own()))
}

/// Addresses the request to the API server, as the protocol wants it: `:authority` in the URI, or `Host`.
fn address(pool: &Pool, request: &mut Request<RequestBody>, http2: bool) -> Result<(), SendError> {
    let invalid = |error: http::Error| SendError::Unprocessed(error.to_string());
    let (authority, host) = pool.dialer().authority().map_err(invalid)?;
    let path = request.uri().path_and_query().cloned();
    let mut parts = uri::Parts::default();
    parts.path_and_query = path;
    if http2 {
        parts.scheme = Some(uri::Scheme::HTTPS);
        parts.authority = Some(authority);
        request.headers_mut().remove(header::HOST);
    } else {
        request.headers_mut().insert(header::HOST, host);
    }
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| invalid(error.into()))?;
    Ok(())
}

/// What is needed to send a request without a body once more.
struct Spare {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Spare {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        request.body().is_empty().then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Whether the server said that it did not process the request: a stream above the last one of a graceful GOAWAY, or
/// one reset as refused (RFC 9113, 6.8 and 8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            let reason = h2.reason();
            return h2.is_remote()
                && (h2.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM)
                    || h2.is_go_away() && reason == Some(h2::Reason::NO_ERROR));
        }
        source = error.source();
    }
    false
}

/// The error with its causes, on one line.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
