//! Requests in HTTP/1.1 that two readers could read differently: refused, counted, and nothing of them reaches the API server.

#[path = "../../../http1/tests/hostile/mod.rs"]
mod table;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::*;

/// With the agent's token behind the first line, so that nothing but its form is wrong with it.
fn authorized(bytes: &[u8]) -> Vec<u8> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return bytes.to_vec() };
    let (first, rest) = bytes.split_at(end + 2);
    let token = format!("Authorization: Bearer {AGENT_TOKEN}\r\n");
    let has_one = rest.windows(14).any(|name| name.eq_ignore_ascii_case(b"authorization:"));
    if has_one || first.len() == 2 { bytes.to_vec() } else { [first, token.as_bytes(), rest].concat() }
}

/// Sends `bytes` and reads to the end.
async fn exchange(bed: &Bed, bytes: &[u8]) -> String {
    let mut tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http11()).await.unwrap();
    tls.write_all(bytes).await.unwrap();
    tls.flush().await.unwrap();
    let mut answer = Vec::new();
    // It may end with a reset where bytes were left unread.
    let _ = soon("the answer's end", tls.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Behind what is refused, so that whatever is taken for a second request is seen.
fn hidden() -> Vec<u8> {
    let head = format!(
        "GET /smuggled HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {AGENT_TOKEN}\r\nConnection: close\r\n\r\n"
    );
    head.into_bytes()
}

fn assert_refused(name: &str, answer: &str, code: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{name}: {answer}");
    // Each answer has an audit id.
    assert_eq!(answer.matches("audit-id: ").count(), 1, "{name}: {answer}");
    assert!(answer.contains("\"kind\":\"Status\"") && answer.contains("connection: close"), "{name}: {answer}");
}

fn counted(bed: &Bed, reason: &str) -> u64 {
    bed.metrics.malformed_requests_total.with_label_values(&[reason]).get()
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused_and_counted_and_the_api_server_sees_nothing() {
    for alpn in [H2, HTTP11] {
        let api = Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, ok()).await;
        let bed = Bed::before(&api).await;
        for (name, bytes, reason) in table::MALFORMED {
            let before = counted(&bed, reason);
            let answer = exchange(&bed, &[authorized(bytes), hidden()].concat()).await;
            assert_refused(name, &answer, 400);
            assert_eq!(counted(&bed, reason), before + 1, "{name}");
        }
        assert!(api.seen().is_empty(), "{:?}", api.seen());
        until("the end of all connections", || bed.open_connections() == 0).await;
    }
}

#[tokio::test]
async fn what_kubernetes_clients_send_arrives_as_the_one_request_that_it_is() {
    let api = Api::start(handler(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(body))
    }))
    .await;
    let bed = Bed::before(&api).await;
    for (name, bytes) in table::WELL_FORMED {
        if bytes.windows(8).any(|name| name == b"Upgrade:") || bytes.windows(7).any(|word| word == b"Bearer ") {
            // Upgrades have tests of their own; another token is not this agent's.
            continue;
        }
        let before = api.seen().len();
        let mut bytes = authorized(bytes);
        if !bytes.windows(9).any(|word| word == b"HTTP/1.0\r") {
            bytes.extend(hidden());
        }
        let answer = exchange(&bed, &bytes).await;
        assert!(answer.starts_with("HTTP/1.") && answer.contains(" 200 OK"), "{name}: {answer}");
        let after = api.seen();
        let hidden = after.iter().skip(before).filter(|seen| seen.target == "/smuggled").count();
        // What is pipelined behind a whole request is a request.
        assert_eq!(after.len() - before, 1 + hidden, "{name}: {after:?}");
    }
    assert_eq!(counted(&bed, "chunk"), 0);
}

#[tokio::test]
async fn a_body_whose_framing_breaks_is_no_request_for_the_api_server() {
    for alpn in [H2, HTTP11] {
        let (whole, mut wholes) = tokio::sync::mpsc::unbounded_channel();
        let handler = handler(move |request| {
            let whole = whole.clone();
            async move {
                if let Ok(body) = request.into_body().collect().await {
                    let _ = whole.send(body.to_bytes());
                }
                Response::new(full("ok"))
            }
        });
        let api = Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, handler).await;
        let bed = Bed::before(&api).await;
        for (name, chunks, reason) in table::BROKEN_CHUNKS {
            let head = format!(
                "POST /a HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {AGENT_TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let before = counted(&bed, reason);
            let answer = exchange(&bed, &[head.as_bytes(), chunks, &hidden()].concat()).await;
            assert_refused(name, &answer, 400);
            assert_eq!(counted(&bed, reason), before + 1, "{name}");
        }
        assert!(api.seen().iter().all(|seen| seen.target == "/a"), "{:?}", api.seen());
        assert!(wholes.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_malformed_request_waits_for_the_answers_before_it() {
    let api = Api::start(handler(|_| async { Response::new(full("the first answer")) })).await;
    let bed = Bed::before(&api).await;
    let first = format!("GET /first HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {AGENT_TOKEN}\r\n\r\n");
    let answer =
        exchange(&bed, &[first.as_bytes(), b"GET /second HTTP/1.1\nHost: k\r\n\r\n", &hidden()].concat()).await;
    let (first, second) = answer.split_once("the first answer").unwrap();
    assert!(first.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_refused("the second", second, 400);
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_is_no_request() {
    let api = Api::start(handler(|_| async { status(StatusCode::FORBIDDEN, "no exec here") })).await;
    let bed = Bed::before(&api).await;
    for (method, protocol) in [("GET", "websocket"), ("POST", "SPDY/3.1")] {
        let upgrade = format!(
            "{method} /api/v1/namespaces/a/pods/x/exec?command=id HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {AGENT_TOKEN}\r\n\
             Connection: Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
             dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = exchange(&bed, &[upgrade.as_bytes(), &hidden()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("no exec here"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{answer}");
    }
    assert!(api.seen().iter().all(|seen| seen.target.contains("/exec")), "{:?}", api.seen());
    assert_eq!(api.seen().len(), 2);
}

#[tokio::test]
async fn a_refusal_of_head_has_no_body() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        let mut client = bed.client(&options).await;
        for _ in 0..2 {
            let mut head = request(http::Method::HEAD, "/version", empty());
            head.headers_mut().insert("impersonate-user", "admin".parse().unwrap());
            let answer = soon("the answer", client.send(head)).await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN);
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!(text(answer).await, "");
        }
    }
    assert!(api.seen().is_empty());
    assert_eq!(bed.served(), 2);
}

#[tokio::test]
async fn heads_that_are_too_large_are_told_so() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    let limits = guard_proxy::Limits::default();
    let large = usize::try_from(limits.header_bytes).unwrap() + (128 << 10);
    for (name, head, code, reason) in [
        ("one header", format!("GET / HTTP/1.1\r\nHost: k\r\nX: {}\r\n\r\n", "a".repeat(large)), 431, "too_large"),
        (
            "many headers",
            format!("GET / HTTP/1.1\r\nHost: k\r\n{}\r\n", "X: a\r\n".repeat(limits.headers + 10)),
            431,
            "too_many",
        ),
        ("the target", format!("GET /{} HTTP/1.1\r\nHost: k\r\n\r\n", "a".repeat(66_000)), 414, "target_too_long"),
    ] {
        assert_refused(name, &exchange(&bed, head.as_bytes()).await, code);
        assert_eq!(counted(&bed, reason), 1, "{name}");
    }
    assert!(api.seen().is_empty());
}
