//! The form that a request must have in either version of HTTP, once its head is parsed.
//!
//! HTTP/1.1 is read more strictly before (`strict.rs`), as bytes. This is what both versions share, and all there is for HTTP/2, whose
//! framing leaves less to interpret: h2 itself refuses names in upper case, headers of a connection, pseudo-headers that are
//! unknown, repeated or late, and bodies that differ from their `content-length`.

use guard_http1::{Malformed, is_host, is_path, is_plain_value, is_single};
use http::{Method, Request, Response, Version, header};

/// The first thing that is wrong with the request.
pub(crate) fn check(request: &Request<()>) -> Result<(), Malformed> {
    if request.method() == Method::CONNECT {
        return Err(Malformed::Connect);
    }
    check_target(request)?;
    check_fields(request)?;
    check_host(request)
}

fn check_target(request: &Request<()>) -> Result<(), Malformed> {
    let uri = request.uri();
    // HTTP/2 has scheme and authority of their own; in HTTP/1.1 only the absolute form (RFC 9112, 3.2.2) brings them.
    let absolute = request.version() < Version::HTTP_2 && uri.authority().is_some();
    let path = uri.path_and_query().map_or("", |target| target.as_str());
    if absolute || !is_path(path.as_bytes()) { Err(Malformed::Target) } else { Ok(()) }
}

fn check_fields(request: &Request<()>) -> Result<(), Malformed> {
    let headers = request.headers();
    for name in headers.keys() {
        let values = headers.get_all(name);
        if is_single(name.as_str()) && values.iter().nth(1).is_some() {
            return Err(Malformed::Duplicate);
        }
        if !values.iter().all(|value| is_plain_value(value.as_bytes())) {
            return Err(Malformed::FieldValue);
        }
    }
    match headers.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(Malformed::Expect),
        _ => Ok(()),
    }
}

/// Of `:authority` and `Host`, RFC 9113 (8.3.1) wants no two different ones.
fn check_host(request: &Request<()>) -> Result<(), Malformed> {
    let host = request.headers().get(header::HOST).map(http::HeaderValue::as_bytes);
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let one = match (authority, host) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host).then_some(host),
        // HTTP/1.0 may come without.
        (None, None) if request.version() == Version::HTTP_10 => return Ok(()),
        (one, other) => one.or(other),
    };
    if one.is_some_and(is_host) { Ok(()) } else { Err(Malformed::Host) }
}

/// What is wrong with an answer of the API server, or of what is behind it, that the library lets pass. `upgrade` is whether one
/// was asked for.
pub(crate) fn fault_of_answer<B>(response: &Response<B>, upgrade: bool) -> Option<&'static str> {
    let headers = response.headers();
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let encoded = match (encodings.next(), encodings.next()) {
        (None, _) => false,
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Some("its Transfer-Encoding is something else than chunked"),
    };
    if encoded && headers.contains_key(header::CONTENT_LENGTH) {
        return Some("it has both Content-Length and Transfer-Encoding");
    }
    let switches = response.status().is_informational();
    (switches && !upgrade).then_some("it switches to a protocol that nobody asked for")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http2(target: &str, headers: &[(&str, &[u8])]) -> Result<(), Malformed> {
        let mut request = Request::builder().version(Version::HTTP_2).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap())
    }

    #[test]
    fn what_clients_send_over_http2_has_its_form() {
        assert_eq!(http2("https://kubernetes.default.svc/api?a=b", &[("accept", b"a/b"), ("accept", b"c/d")]), Ok(()));
        assert_eq!(http2("https://[fd00::1]:443/api", &[("host", b"[FD00::1]:443")]), Ok(()));
        assert_eq!(http2("/api", &[("host", b"k")]), Ok(()));
    }

    #[test]
    fn what_could_be_read_differently_has_none() {
        for (target, headers, malformed) in [
            ("https://k/a", &[("host", &b"other"[..])][..], Malformed::Host),
            ("https://a@k/a", &[], Malformed::Host),
            ("/a", &[], Malformed::Host),
            ("https://k/\u{e4}", &[], Malformed::Target),
            ("https://k/a", &[("x", b"\xe4")], Malformed::FieldValue),
            ("https://k/a", &[("content-type", b"a/b"), ("content-type", b"a/c")], Malformed::Duplicate),
            ("https://k/a", &[("expect", b"nothing")], Malformed::Expect),
        ] {
            assert_eq!(http2(target, headers), Err(malformed), "{target} {headers:?}");
        }
    }
}
