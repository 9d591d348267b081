//! What clients make the guard hold, and what they may send.

use std::time::Duration;

use bytes::Bytes;
use guard_proxy::{Limits, Timeouts};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::*;

const PODS: &str = "/api/v1/namespaces/a/pods";

fn met(bed: &Bed, limit: &str) -> u64 {
    bed.metrics.limits_total.with_label_values(&[limit]).get()
}

/// An API server that reads every body to its end.
async fn reader() -> Api {
    Api::start(handler(|request| async move {
        match request.into_body().collect().await {
            Ok(body) => Response::new(full(body.to_bytes().len().to_string())),
            Err(_) => status(StatusCode::BAD_REQUEST, "broken off"),
        }
    }))
    .await
}

/// Many connections, each with much of a head that never ends.
#[tokio::test]
async fn unfinished_heads_of_all_connections_have_one_budget() {
    let api = Api::start(ok()).await;
    let limits = Limits { held_bytes: 1 << 20, ..Limits::default() };
    let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http11()).await.unwrap();
        tls.write_all(b"GET /version HTTP/1.1\r\nX: ").await.unwrap();
        // Those that are refused take no more.
        let _ = tls.write_all(&vec![b'a'; 100 << 10]).await;
        let _ = tls.flush().await;
        clients.push(tls);
    }
    // 100 KiB each, of which the first 16 are nobody's.
    until("most to be refused", || met(&bed, "held_bytes") >= 8).await;
    assert!(bed.metrics.held_bytes.get() <= 1 << 20);
    let mut refused = 0;
    for tls in &mut clients {
        let mut answer = Vec::new();
        if tokio::time::timeout(Duration::from_millis(100), tls.read_to_end(&mut answer)).await.is_ok() {
            refused += usize::from(answer.starts_with(b"HTTP/1.1 429 "));
        }
    }
    assert!(refused >= 8, "{refused} were told");
    // Small requests pass beside them.
    assert_eq!(bed.client(&ClientOptions::http2()).await.send(get("/version")).await.unwrap().status(), StatusCode::OK);
    drop(clients);
    until("nothing held", || bed.metrics.held_bytes.get() == 0).await;
}

#[tokio::test]
async fn header_lines_above_the_limit_are_refused_by_a_status() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        for (lines, expected) in [(200, StatusCode::OK), (300, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)] {
            let mut get = get("/version");
            for n in 0..lines {
                let name = HeaderName::try_from(format!("x-{n}")).unwrap();
                get.headers_mut().insert(name, HeaderValue::from_static("1"));
            }
            let response = bed.client(&options).await.send(get).await.unwrap();
            assert_eq!(response.status(), expected, "{lines}");
        }
    }
    assert_eq!(met(&bed, "headers") + met(&bed, "header_bytes"), 2);
    assert_eq!(api.seen().len(), 2);
}

#[tokio::test]
async fn a_body_of_3_mib_passes_and_one_byte_more_is_refused_as_the_api_server_does() {
    let api = reader().await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        let mut client = bed.client(&options).await;
        let most = vec![b'x'; 3 << 20];
        let response = client.send(request(Method::POST, PODS, full(most.clone()))).await.unwrap();
        assert_eq!((response.status(), &*text(response).await), (StatusCode::OK, "3145728"));
        let before = api.seen().len();
        let more = [&most[..], b"x"].concat();
        let response = bed.client(&options).await.send(request(Method::POST, PODS, full(more.clone()))).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let status: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(
            (&status["reason"], &status["message"]),
            (&"RequestEntityTooLarge".into(), &"Request entity too large: limit is 3145728".into())
        );
        assert_eq!(api.seen().len(), before, "the length was announced");
        // Without a length it shows only when it comes.
        let (pieces, body) = stream();
        let mut client = bed.client(&options).await;
        let sending = async {
            for piece in more.chunks(100 << 10) {
                if pieces.send(Ok(Bytes::copy_from_slice(piece))).await.is_err() {
                    break;
                }
            }
            drop(pieces);
        };
        let (response, ()) = tokio::join!(client.send(request(Method::POST, PODS, body)), sending);
        assert_eq!(response.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert_eq!(met(&bed, "body_bytes"), 4);
    // What the API server passes on without a limit of its own is not bounded here either.
    let proxied = "/api/v1/namespaces/a/services/s/proxy/upload";
    let mut client = bed.client(&ClientOptions::http2()).await;
    let response = client.send(request(Method::POST, proxied, full(vec![b'x'; 5 << 20]))).await.unwrap();
    assert_eq!(text(response).await, (5 << 20).to_string());
}

#[tokio::test]
async fn a_body_that_trickles_is_ended_and_one_that_waits_for_the_api_server_is_not() {
    let api = reader().await;
    let limits = Limits { body_bytes_per_second: 1000, ..Limits::default() };
    let timeouts = Timeouts { body: Duration::from_millis(300), ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { limits, timeouts, ..BedOptions::default() }).await;
    for options in ClientOptions::each() {
        let (pieces, body) = stream();
        let trickle = tokio::spawn(async move {
            while pieces.send(Ok(Bytes::from_static(b"x"))).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut client = bed.client(&options).await;
        let response = soon("an answer", client.send(request(Method::POST, PODS, body))).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
        trickle.abort();
        // Faster than the limit, though slower than the first patience.
        let (pieces, body) = stream();
        let steady = async {
            for _ in 0..10 {
                pieces.send(Ok(Bytes::from(vec![b'x'; 1000]))).await.unwrap();
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            drop(pieces);
        };
        let mut client = bed.client(&options).await;
        let (response, ()) = tokio::join!(client.send(request(Method::POST, PODS, body)), steady);
        assert_eq!(response.unwrap().status(), StatusCode::OK);
        // A stream through the API server may rest.
        let (pieces, body) = stream();
        let resting = async {
            pieces.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(pieces);
        };
        let proxied = request(Method::POST, "/api/v1/namespaces/a/pods/p/proxy/stream", body);
        let mut client = bed.client(&options).await;
        let (response, ()) = tokio::join!(client.send(proxied), resting);
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(met(&bed, "body_rate"), 2);
}

/// Readers that stop, with more waiting for them than the budget: they get all of it when they go on, and until then others of the
/// same pod get theirs.
#[tokio::test]
async fn readers_that_stop_are_bounded_in_memory_and_never_cut() {
    const LONG: usize = 8 << 20;
    let api = Api::start(handler(|request| async move {
        let bytes = if request.uri().query().is_some() { LONG } else { 10 };
        Response::new(full(vec![b'x'; bytes]))
    }))
    .await;
    let limits = Limits { held_bytes: 4 << 20, ..Limits::default() };
    let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
    let mut stopped = Vec::new();
    for options in ClientOptions::each().into_iter().cycle().take(10) {
        let mut client = bed.client(&options).await;
        let response = client.send(get("/api/v1/pods?all")).await.unwrap();
        stopped.push((client, response));
    }
    until("the budget to be used", || bed.metrics.held_bytes.get() > 1 << 20).await;
    let mut other = bed.client(&ClientOptions::http2()).await;
    for _ in 0..20 {
        let response = soon("an answer", other.send(get("/api/v1/pods"))).await.unwrap();
        assert_eq!(text(response).await.len(), 10);
        assert!(bed.metrics.held_bytes.get() <= 4 << 20);
    }
    for (client, response) in stopped {
        assert_eq!(soon("the rest", response.into_body().collect()).await.unwrap().to_bytes().len(), LONG);
        drop(client);
    }
    until("nothing held", || bed.metrics.held_bytes.get() == 0).await;
}

#[tokio::test]
async fn handshakes_above_the_rate_wait_and_those_that_would_wait_too_long_are_closed() {
    let api = Api::start(ok()).await;
    let limits = Limits { handshakes_per_second: 5, ..Limits::default() };
    let timeouts = Timeouts { handshake: Duration::from_secs(5), ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { limits, timeouts, ..BedOptions::default() }).await;
    let tries = (0..100).map(|_| {
        let (address, roots) = (bed.address, std::sync::Arc::clone(&bed.roots));
        tokio::spawn(async move { raw_tls(address, &roots, &ClientOptions::http2()).await.is_ok() })
    });
    let mut served = 0;
    for one in tries.collect::<Vec<_>>() {
        served += usize::from(soon("an end", one).await.unwrap());
    }
    // Twenty at once, and those for whom a place is free within what a handshake may take.
    assert!((20..100).contains(&served), "{served} handshakes");
    assert_eq!(bed.metrics.connections_total.with_label_values(&["limit"]).get(), 100 - u64::try_from(served).unwrap());
    assert!(met(&bed, "handshakes") >= 100 - u64::try_from(served).unwrap());
}

#[tokio::test]
async fn half_done_handshakes_take_places_for_no_longer_than_a_handshake_may() {
    let api = Api::start(ok()).await;
    let limits = Limits { handshakes: 4, ..Limits::default() };
    let timeouts = Timeouts { handshake: Duration::from_millis(500), ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { limits, timeouts, ..BedOptions::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(tokio::net::TcpStream::connect(bed.address).await.unwrap());
    }
    until("four", || bed.open_connections() == 4).await;
    until("the end of the silent", || met(&bed, "handshake_time") == 4).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    assert_eq!(client.send(get("/version")).await.unwrap().status(), StatusCode::OK);
}
