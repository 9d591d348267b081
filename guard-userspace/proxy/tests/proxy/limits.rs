//! What one workload may hold.

mod frames;
mod memory;

use std::time::Duration;

use guard_proxy::{Limits, Timeouts};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::*;

#[tokio::test]
async fn connections_above_the_limit_are_closed_and_the_others_go_on() {
    let api = Api::start(ok()).await;
    let limits = Limits { connections: 2, ..Limits::default() };
    let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
    let mut first = bed.client(&ClientOptions::http2()).await;
    let second = bed.client(&ClientOptions::http11()).await;
    raw_tls(bed.address, &bed.roots, &ClientOptions::http2()).await.unwrap_err();
    assert_eq!(first.send(get("/version")).await.unwrap().status(), StatusCode::OK);
    second.vanish();
    until("the place", || bed.open_connections() == 1).await;
    let mut third = bed.client(&ClientOptions::http2()).await;
    assert_eq!(third.send(get("/version")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(bed.metrics.connections_total.with_label_values(&["limit"]).get(), 1);
}

#[tokio::test]
async fn exchanges_above_the_limit_are_told_to_wait() {
    let api = Api::start(handler(|request| async move {
        let (pieces, body) = stream();
        if request.uri().query().is_some() {
            // The watch goes on for as long as its client is there.
            tokio::spawn(async move { pieces.closed().await });
        }
        Response::new(body)
    }))
    .await;
    let limits = Limits { exchanges: 1, ..Limits::default() };
    let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let watch = client.send(get("/api/v1/pods?watch=1")).await.unwrap();
    let second = client.send(get("/version")).await.unwrap();
    assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(second.headers()["retry-after"], "1");
    assert!(text(second).await.contains("TooManyRequests"));
    drop(watch);
    soon("the place", async {
        while client.send(get("/version")).await.unwrap().status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Bodies that do not come hold places at the API server.
#[tokio::test]
async fn requests_above_the_limit_wait_for_their_turn_and_watches_do_not() {
    let api = Api::start(handler(|request| async move {
        if request.method() == Method::POST {
            request.into_body().collect().await.unwrap();
        }
        Response::new(full("ok"))
    }))
    .await;
    let limits = Limits { requests: 2, ..Limits::default() };
    let timeouts = Timeouts { stream: Duration::from_secs(2), ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { limits, timeouts, ..BedOptions::default() }).await;
    for options in ClientOptions::each() {
        let before = api.seen().len();
        let mut held = Vec::new();
        for _ in 0..2 {
            let (pieces, body) = stream();
            let mut client = bed.client(&options).await;
            let path = "/api/v1/namespaces/a/pods";
            held.push((pieces, tokio::spawn(async move { client.send(request(Method::POST, path, body)).await })));
        }
        until("both requests", || api.seen().len() == before + 2).await;
        let mut client = bed.client(&options).await;
        let refused = client.send(get("/version")).await.unwrap();
        assert_eq!(
            (refused.status(), &refused.headers()["retry-after"]),
            (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
        );
        assert_eq!(api.seen().len(), before + 2, "what waits is not sent");
        for long in ["/api/v1/pods?watch=1", "/api/v1/namespaces/a/pods/b/log?follow=1"] {
            assert_eq!(bed.client(&options).await.send(get(long)).await.unwrap().status(), StatusCode::OK);
        }
        for (pieces, answer) in held {
            drop(pieces);
            assert_eq!(text(answer.await.unwrap().unwrap()).await, "ok");
            let mut client = bed.client(&options).await;
            assert_eq!(client.send(get("/version")).await.unwrap().status(), StatusCode::OK);
        }
    }
    let met = bed.metrics.limits_total.with_label_values(&["requests"]).get();
    assert!(met >= 2, "{met}");
}

#[tokio::test]
async fn headers_as_long_as_the_api_server_takes_pass_and_longer_ones_do_not() {
    let api = Api::start(ok()).await;
    let limits = Limits { header_bytes: 64 << 10, ..Limits::default() };
    let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
    for options in ClientOptions::each() {
        for (length, passes) in [(40 << 10, true), (80 << 10, false)] {
            let mut get = get("/version");
            get.headers_mut().insert("x-long", HeaderValue::try_from("a".repeat(length)).unwrap());
            let answer = bed.client(&options).await.send(get).await;
            let status = answer.map(|response| response.status());
            assert_eq!(matches!(status, Ok(StatusCode::OK)), passes, "{length}: {status:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_or_its_headers_is_dropped() {
    let api = Api::start(ok()).await;
    let short = Duration::from_millis(200);
    let timeouts = Timeouts { handshake: short, idle: short, ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { timeouts, ..BedOptions::default() }).await;
    let mut tcp = tokio::net::TcpStream::connect(bed.address).await.unwrap();
    tcp.write_all(&[22, 3, 1]).await.unwrap();
    let mut rest = Vec::new();
    let _ = soon("the handshake's end", tcp.read_to_end(&mut rest)).await;
    assert_eq!(bed.metrics.tls_failures_total.with_label_values(&["timeout"]).get(), 1);

    let mut tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http11()).await.unwrap();
    tls.write_all(b"GET /version HTTP/1.1\r\nHost:").await.unwrap();
    let _ = soon("the headers' end", tls.read_to_end(&mut rest)).await;
    until("no connection", || bed.open_connections() == 0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_watch_is_not() {
    let (pieces, body) = stream();
    let body = std::sync::Mutex::new(Some(body));
    let api = Api::start(handler(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    }))
    .await;
    let timeouts = Timeouts { idle: Duration::from_millis(100), ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { timeouts, ..BedOptions::default() }).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let mut watch = client.send(get("/api/v1/pods?watch=1")).await.unwrap().into_body();
    tokio::time::sleep(Duration::from_millis(400)).await;
    pieces.send(Ok("{}\n".into())).await.unwrap();
    let event = soon("the event", http_body_util::BodyExt::frame(&mut watch)).await.unwrap().unwrap();
    assert_eq!(event.into_data().unwrap(), "{}\n");
    drop(watch);
    soon("the close", client.closed()).await;
}

#[tokio::test]
async fn bytes_that_are_no_tls_or_no_http_hurt_nobody_else() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    let mut bystander = bed.client(&ClientOptions::http2()).await;
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 600], &[22, 3, 1, 255, 255], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut tcp = tokio::net::TcpStream::connect(bed.address).await.unwrap();
        tcp.write_all(junk).await.unwrap();
        tcp.shutdown().await.unwrap();
        let _ = soon("the close", tcp.read_to_end(&mut Vec::new())).await;
        for options in ClientOptions::each() {
            let mut tls = raw_tls(bed.address, &bed.roots, &options).await.unwrap();
            tls.write_all(junk).await.unwrap();
            let _ = tls.shutdown().await;
            let _ = soon("the close", tls.read_to_end(&mut Vec::new())).await;
        }
    }
    assert_eq!(bystander.send(get("/version")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(api.seen().len(), 1);
}
