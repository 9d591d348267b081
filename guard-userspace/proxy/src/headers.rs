//! Which headers pass. Towards the API server only those listed here; towards the client all but those of one connection.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_identity::{AuthError, bearer_of};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

/// The id under which the API server's audit log has an exchange; taken from the request if it has one.
pub(crate) const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// What Kubernetes clients send and the API server reads. Identity (`Authorization`, `X-Remote-*`, `X-Forwarded-*`,
/// `Audit-ID`), framing (`Content-Length`, `Transfer-Encoding`: set anew from the body itself) and everything unknown stay behind.
static FORWARDED: [HeaderName; 16] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::ORIGIN,
    header::RANGE,
    header::USER_AGENT,
    HeaderName::from_static("kubectl-command"),
    HeaderName::from_static("kubectl-session"),
    HeaderName::from_static("priority"),
];

/// What an upgrade needs besides. `Sec-WebSocket-Extensions` is not among them: Kubernetes negotiates none.
static UPGRADE: [HeaderName; 3] =
    [header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_VERSION, HeaderName::from_static("x-stream-protocol-version")];

/// Headers of one connection (RFC 9110, 7.6.1), with those that would tell the client of another way to the server.
static HOP_BY_HOP: [HeaderName; 10] = [
    header::ALT_SVC,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Prefix of the headers that ask to act as somebody else.
const IMPERSONATE: &str = "impersonate-";

/// Prefix of the WebSocket subprotocol that carries a bearer token (`k8s.io/apiserver`, `websocket.NewProtocolAuthenticator`).
const PROTOCOL_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// The protocols that Kubernetes upgrades to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeProtocol {
    WebSocket,
    Spdy,
}

impl UpgradeProtocol {
    /// What `headers` ask for. Other protocols (`h2c`) are not asked for upstream, as a server may that does not know them.
    pub(crate) fn requested(headers: &HeaderMap) -> Option<Self> {
        if !tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
            return None;
        }
        tokens(headers, &header::UPGRADE).find_map(|token| {
            if token.eq_ignore_ascii_case("websocket") {
                Some(Self::WebSocket)
            } else if token.eq_ignore_ascii_case("spdy/3.1") {
                Some(Self::Spdy)
            } else {
                None
            }
        })
    }

    fn value(self) -> HeaderValue {
        match self {
            Self::WebSocket => HeaderValue::from_static("websocket"),
            Self::Spdy => HeaderValue::from_static("SPDY/3.1"),
        }
    }
}

/// The first header that asks to act as somebody else.
pub(crate) fn impersonation(headers: &HeaderMap) -> Option<&HeaderName> {
    headers.keys().find(|name| name.as_str().starts_with(IMPERSONATE))
}

/// The token that the request carries, from where the API server takes it: `Authorization`, else the WebSocket subprotocol.
///
/// # Errors
/// More than one token, or one that is not encoded as it must be: which of them counts must never be a question.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, AuthError> {
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    let mut protocols =
        tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).filter_map(|token| token.strip_prefix(PROTOCOL_BEARER));
    let found = (authorizations.next(), authorizations.next(), protocols.next(), protocols.next());
    match found {
        (None, None, None, None) => Ok(None),
        (Some(value), None, None, None) => Ok(bearer_of(value).map(|token| Zeroizing::new(token.to_owned()))),
        (None, None, Some(encoded), None) if encoded.len() <= 2 * guard_identity::MAX_TOKEN_LEN => {
            let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| AuthError::Malformed)?);
            let token = std::str::from_utf8(&decoded).map_err(|_| AuthError::Malformed)?;
            Ok(Some(Zeroizing::new(token.to_owned())))
        }
        _ => Err(AuthError::Malformed),
    }
}

/// The headers that go to the API server.
pub(crate) fn forwarded(
    from: &HeaderMap,
    upgrade: Option<UpgradeProtocol>,
    authorization: Option<HeaderValue>,
    audit_id: HeaderValue,
) -> HeaderMap {
    let mut to = HeaderMap::with_capacity(from.len() + 4);
    let upgrade_names = if upgrade.is_some() { &UPGRADE[..] } else { &[] };
    for name in FORWARDED.iter().chain(upgrade_names) {
        for value in from.get_all(name) {
            to.append(name, value.clone());
        }
    }
    if let Some(protocol) = upgrade {
        to.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        to.insert(header::UPGRADE, protocol.value());
        if let Some(value) = subprotocols(from) {
            to.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
    if let Some(authorization) = authorization {
        to.insert(header::AUTHORIZATION, authorization);
    }
    to.insert(AUDIT_ID, audit_id);
    to
}

/// The WebSocket subprotocols that are offered to the API server: not those that carry a token.
pub(crate) fn offered_subprotocols(from: &HeaderMap) -> impl Iterator<Item = &str> {
    tokens(from, &header::SEC_WEBSOCKET_PROTOCOL)
        .filter(|token| !token.to_ascii_lowercase().starts_with("base64url.bearer."))
}

/// The WebSocket subprotocols without those that carry a token.
fn subprotocols(from: &HeaderMap) -> Option<HeaderValue> {
    let kept: Vec<&str> = offered_subprotocols(from).collect();
    if kept.is_empty() { None } else { HeaderValue::from_str(&kept.join(", ")).ok() }
}

/// Takes from a response's headers what belonged to the connection it came on.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION).filter_map(|token| token.parse().ok()).collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// The same for a 101, which keeps what says that the protocol is switched.
pub(crate) fn strip_for_upgrade(headers: &mut HeaderMap) {
    let upgrade = headers.get(header::UPGRADE).cloned();
    strip_hop_by_hop(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }
}

/// The elements of a header that is a comma-separated list, over all its lines.
pub(crate) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
