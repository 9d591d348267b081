//! Bodies: prompt, whole or broken, never held.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use guard_proxy::Timeouts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};

use crate::bed::*;

/// An API server that answers its first request with a body that the test sends piece by piece.
pub(crate) async fn api_with_stream(alpn: &'static [u8]) -> (Api, mpsc::Sender<Piece>) {
    let (pieces, body) = stream();
    let body = Mutex::new(Some(body));
    let handler = handler(move |_| {
        let body = body.lock().unwrap().take().unwrap_or_else(empty);
        async move { Response::new(body) }
    });
    (Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, handler).await, pieces)
}

pub(crate) async fn next(body: &mut Incoming) -> Bytes {
    soon("a piece", body.frame()).await.unwrap().unwrap().into_data().unwrap()
}

#[tokio::test]
async fn each_piece_of_an_answer_arrives_before_the_next_is_sent() {
    for alpn in [H2, HTTP11] {
        for options in ClientOptions::each() {
            let (api, pieces) = api_with_stream(alpn).await;
            let bed = Bed::before(&api).await;
            let mut client = bed.client(&options).await;
            let mut body = client.send(get("/api/v1/namespaces/a/pods/p/log?follow=true")).await.unwrap().into_body();
            for n in 0..20 {
                let line = format!("line {n}\n");
                pieces.send(Ok(line.clone().into())).await.unwrap();
                assert_eq!(next(&mut body).await, line);
            }
            drop(pieces);
            assert!(ends_clean(&mut body).await);
        }
    }
}

#[tokio::test]
async fn each_piece_of_a_request_arrives_before_the_next_is_sent() {
    for alpn in [H2, HTTP11] {
        for options in ClientOptions::each() {
            let (arrived, mut arrivals) = mpsc::channel(1);
            let handler = handler(move |request: Request<Incoming>| {
                let arrived = arrived.clone();
                async move {
                    let mut body = request.into_body();
                    while let Some(Ok(frame)) = body.frame().await {
                        arrived.send(frame.into_data().unwrap()).await.unwrap();
                    }
                    Response::new(full("ok"))
                }
            });
            let api = Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, handler).await;
            let bed = Bed::before(&api).await;
            let mut client = bed.client(&options).await;
            let (pieces, body) = stream();
            let sent = client.send(request(Method::POST, "/api/v1/namespaces/a/pods", body));
            let (response, ()) = tokio::join!(sent, async {
                for n in 0..20 {
                    pieces.send(Ok(format!("piece {n}").into())).await.unwrap();
                    assert_eq!(soon("a piece", arrivals.recv()).await.unwrap(), format!("piece {n}"));
                }
                drop(pieces);
            });
            assert_eq!(response.unwrap().status(), StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_never_an_end() {
    for alpn in [H2, HTTP11] {
        for options in ClientOptions::each() {
            for killed in [true, false] {
                let (api, pieces) = api_with_stream(alpn).await;
                let bed = Bed::before(&api).await;
                let mut client = bed.client(&options).await;
                let mut body = client.send(get("/api/v1/pods")).await.unwrap().into_body();
                pieces.send(Ok("{\"items\":[".into())).await.unwrap();
                assert_eq!(next(&mut body).await, "{\"items\":[");
                if killed {
                    api.kill_connections();
                } else {
                    pieces.send(Err(std::io::Error::other("etcd is gone"))).await.unwrap();
                }
                assert!(!ends_clean(&mut body).await);
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_the_api_server_resets_without_error_is_still_broken_off() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (config, roots) = certify("kubernetes.default.svc", &[&rustls::version::TLS13], &[H2]);
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(config).accept(tcp).await.unwrap();
        let mut h2 = h2::server::handshake(tls).await.unwrap();
        while let Some(Ok((_, mut respond))) = h2.accept().await {
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data("half".into(), false).unwrap();
                told.notified().await;
                body.send_reset(h2::Reason::NO_ERROR);
            });
        }
    });
    let api = Api::start(ok()).await;
    let bed = Bed::with(&api, BedOptions { addresses: vec![address], ..BedOptions::default() }).await;
    bed.upstream_roots.store(roots);
    for options in ClientOptions::each() {
        let mut client = bed.client(&options).await;
        let mut body = client.send(get("/api/v1/pods")).await.unwrap().into_body();
        assert_eq!(next(&mut body).await, "half");
        go_on.notify_one();
        assert!(!ends_clean(&mut body).await);
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_never_reaches_the_api_server_as_whole() {
    for alpn in [H2, HTTP11] {
        for options in ClientOptions::each() {
            let (ended, mut ends) = mpsc::channel(1);
            let handler = handler(move |request: Request<Incoming>| {
                let ended = ended.clone();
                async move {
                    let whole = request.into_body().collect().await.is_ok();
                    ended.send(whole).await.unwrap();
                    Response::new(empty())
                }
            });
            let api = Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, handler).await;
            let bed = Bed::before(&api).await;
            let mut client = bed.client(&options).await;
            let (pieces, body) = stream();
            let sent = tokio::spawn(async move {
                let _ = client.send(request(Method::POST, "/api/v1/namespaces/a/pods", body)).await;
            });
            pieces.send(Ok("{\"kind\":".into())).await.unwrap();
            until("the request", || !api.seen().is_empty()).await;
            pieces.send(Err(std::io::Error::other("the agent was killed"))).await.unwrap();
            let _ = sent.await;
            // A handler that is dropped with its request has not seen a whole one either.
            let whole = tokio::time::timeout(Duration::from_millis(500), ends.recv()).await;
            assert!(!matches!(whole, Ok(Some(true))), "half a request was taken for a whole one");
        }
    }
}

/// Forwards TCP until told to stop, and then holds the connections without a word.
async fn stalling_forwarder(to: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<Notify>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(to).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                () = told.notified() => held.push((near, far)),
            }
        }
    });
    (address, stop)
}

#[tokio::test]
async fn an_api_server_that_falls_silent_is_noticed_and_the_client_sees_a_reset() {
    let (api, pieces) = api_with_stream(H2).await;
    let (forwarder, stop) = stalling_forwarder(api.address).await;
    let timeouts = Timeouts { ping: Duration::from_millis(200), ..Timeouts::default() };
    let options = BedOptions { timeouts, addresses: vec![forwarder], ..BedOptions::default() };
    let bed = Bed::with(&api, options).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let mut watch = client.send(get("/api/v1/pods?watch=1")).await.unwrap().into_body();
    pieces.send(Ok("{}\n".into())).await.unwrap();
    assert_eq!(next(&mut watch).await, "{}\n");
    // With answers to pings a quiet watch stays.
    let quiet = tokio::time::timeout(Duration::from_millis(800), watch.frame()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    stop.notify_one();
    assert!(!ends_clean(&mut watch).await);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request_at_the_api_server() {
    struct OnDrop(mpsc::UnboundedSender<&'static str>, &'static str);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            let _ = self.0.send(self.1);
        }
    }
    for alpn in [H2, HTTP11] {
        for options in ClientOptions::each() {
            let (dropped, mut drops) = mpsc::unbounded_channel();
            let handler = handler(move |request: Request<Incoming>| {
                let dropped = dropped.clone();
                async move {
                    if request.uri().path() == "/version" {
                        let _waits = OnDrop(dropped, "before the answer");
                        return std::future::pending().await;
                    }
                    let (pieces, body) = stream();
                    tokio::spawn(async move {
                        pieces.send(Ok("{}\n".into())).await.unwrap();
                        pieces.closed().await;
                        drop(OnDrop(dropped, "in the body"));
                    });
                    Response::new(body)
                }
            });
            let api = Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, handler).await;
            let bed = Bed::before(&api).await;

            let mut client = bed.client(&options).await;
            let mut watch = client.send(get("/api/v1/pods?watch=1")).await.unwrap().into_body();
            assert_eq!(next(&mut watch).await, "{}\n");
            client.vanish();
            assert_eq!(soon("the cancellation", drops.recv()).await, Some("in the body"));

            let mut client = bed.client(&options).await;
            let waiting = tokio::spawn(async move { drop(client.send(get("/version")).await) });
            until("the request", || api.seen().len() == 2).await;
            waiting.abort();
            assert_eq!(soon("the cancellation", drops.recv()).await, Some("before the answer"));
        }
    }
}

/// Bytes in one piece of a large answer, and how many pieces.
const PIECE: usize = 64 << 10;
const PIECES: usize = 4 << 10;

#[tokio::test]
async fn a_large_answer_is_left_with_the_api_server_until_the_client_reads() {
    for alpn in [H2, HTTP11] {
        for options in ClientOptions::each() {
            let produced = Arc::<AtomicUsize>::default();
            let count = Arc::clone(&produced);
            let handler = handler(move |_| {
                let count = Arc::clone(&count);
                async move {
                    let (pieces, body) = stream();
                    tokio::spawn(async move {
                        let piece = Bytes::from(vec![b'x'; PIECE]);
                        for _ in 0..PIECES {
                            if pieces.send(Ok(piece.clone())).await.is_err() {
                                break;
                            }
                            count.fetch_add(PIECE, Ordering::SeqCst);
                        }
                    });
                    Response::new(body)
                }
            });
            let api = Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, handler).await;
            let bed = Bed::before(&api).await;
            let mut client = bed.client(&options).await;
            let mut body = client.send(get("/api/v1/secrets")).await.unwrap().into_body();
            let mut before = usize::MAX;
            soon("backpressure", async {
                while before != produced.load(Ordering::SeqCst) {
                    before = produced.load(Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            })
            .await;
            // Sockets, windows and buffers of four parties: what the proxy holds is a part of it.
            assert!(before < 24 << 20, "{before} bytes were taken from the API server for a client that reads nothing");
            let mut total = 0;
            while let Some(frame) = soon("a piece", body.frame()).await {
                total += frame.unwrap().into_data().unwrap().len();
            }
            assert_eq!(total, PIECE * PIECES);
        }
    }
}

#[tokio::test]
async fn bytes_of_both_directions_are_counted() {
    let api = Api::start(handler(|request| async move {
        request.into_body().collect().await.unwrap();
        Response::new(full(vec![b'x'; 5000]))
    }))
    .await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        let mut client = bed.client(&options).await;
        let post = request(Method::POST, "/api/v1/namespaces/a/pods", full(vec![b'y'; 3000]));
        assert_eq!(text(client.send(post).await.unwrap()).await.len(), 5000);
    }
    let bytes = |direction| bed.metrics.bytes_total.with_label_values(&[direction]).get();
    until("the counts", || (bytes("request"), bytes("response")) == (6000, 10_000)).await;
}

#[tokio::test]
async fn http_1_0_without_a_length_does_not_end_clean_when_it_breaks_off() {
    let (api, pieces) = api_with_stream(H2).await;
    let bed = Bed::before(&api).await;
    let mut tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http11()).await.unwrap();
    let head = format!("GET /api/v1/pods HTTP/1.0\r\nAuthorization: Bearer {AGENT_TOKEN}\r\n\r\n");
    tls.write_all(head.as_bytes()).await.unwrap();
    pieces.send(Ok("half".into())).await.unwrap();
    let received = AtomicU64::new(0);
    let mut buffer = [0; 1024];
    soon("the half", async {
        let mut all = Vec::new();
        while !all.ends_with(b"half") {
            let n = tls.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "ended early");
            all.extend_from_slice(&buffer[..n]);
            received.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    api.kill_connections();
    // The end of such a body is the end of the connection: only TLS' close_notify would make it a clean one.
    let end = soon("the end", tls.read(&mut buffer)).await;
    assert!(end.is_err(), "{end:?}");
}
