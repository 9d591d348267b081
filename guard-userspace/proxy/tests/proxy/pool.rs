//! Connections to the API server: how many, and what happens to requests when one goes.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use guard_proxy::{Limits, Timeouts};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::Mutex;

use crate::bed::*;

/// Answers every request with a stream that stays open, after its first event.
fn watches() -> (Handler, Arc<Mutex<Vec<tokio::sync::mpsc::Sender<Piece>>>>) {
    let open = Arc::<Mutex<Vec<_>>>::default();
    let streams = Arc::clone(&open);
    let handler = handler(move |_| {
        let streams = Arc::clone(&streams);
        async move {
            let (pieces, body) = stream();
            pieces.send(Ok(Bytes::from_static(b"{\"type\":\"ADDED\"}\n"))).await.unwrap();
            streams.lock().await.push(pieces);
            Response::new(body)
        }
    });
    (handler, open)
}

#[tokio::test]
async fn three_hundred_watches_run_at_once_over_several_connections() {
    for (alpn, connections) in [(H2, 3..=6), (HTTP11, 300..=300)] {
        three_hundred_watches(alpn, connections).await;
    }
}

async fn three_hundred_watches(alpn: &'static [u8], connections: std::ops::RangeInclusive<usize>) {
    let (handler, _open) = watches();
    let api = Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, handler).await;
    let bed = Bed::before(&api).await;
    let mut bodies = Vec::new();
    // The proxy allows 250 streams on one of the client's connections.
    for _ in 0..2 {
        let client = bed.client(&ClientOptions::http2()).await;
        let answers = (0..150).map(|n| {
            let mut sender = client.share().unwrap();
            let mut watch = get(&format!("/api/v1/pods?watch=1&n={n}"));
            *watch.uri_mut() = format!("https://kubernetes.default.svc{}", watch.uri()).parse().unwrap();
            tokio::spawn(async move { sender.send_request(watch).await.unwrap() })
        });
        for answer in answers.collect::<Vec<_>>() {
            let mut body = soon("a watch", answer).await.unwrap().into_body();
            let event = soon("an event", body.frame()).await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(event, "{\"type\":\"ADDED\"}\n");
            bodies.push((client.share(), body));
        }
    }
    let targets: HashSet<String> = api.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!((bodies.len(), targets.len()), (300, 150));
    assert!(connections.contains(&api.accepted()), "{} connections", api.accepted());
}

#[tokio::test]
async fn requests_one_after_another_share_one_connection() {
    for alpn in [H2, HTTP11] {
        let api = Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, ok()).await;
        let bed = Bed::before(&api).await;
        let mut client = bed.client(&ClientOptions::http2()).await;
        for _ in 0..10 {
            let response = client.send(get("/version")).await.unwrap();
            assert_eq!(text(response).await, "ok");
            // An HTTP/1.1 connection is back in the pool a moment after its answer.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(api.accepted(), 1);
    }
}

#[tokio::test]
async fn streams_that_ended_make_room_for_others() {
    let options = ApiOptions { streams: 2, ..ApiOptions::default() };
    let (handler, open) = watches();
    let api = Api::start_with(options, handler).await;
    let limits = Limits { upstream_connections: 1, upstream_streams: 2, ..Limits::default() };
    let timeouts = Timeouts { stream: Duration::from_millis(200), ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { limits, timeouts, ..BedOptions::default() }).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let watch = || get("/api/v1/pods?watch=1");
    let (first, second) = (client.send(watch()).await.unwrap(), client.send(watch()).await.unwrap());
    let full = client.send(watch()).await.unwrap();
    assert_eq!(full.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(full.headers()["retry-after"], "1");
    open.lock().await.clear();
    first.into_body().collect().await.unwrap();
    second.into_body().collect().await.unwrap();
    assert_eq!(client.send(watch()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(api.accepted(), 1);
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_costs_no_request() {
    for alpn in [H2, HTTP11] {
        let api = Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, ok()).await;
        let bed = Bed::before(&api).await;
        let mut client = bed.client(&ClientOptions::http2()).await;
        for n in 1..=5 {
            let post = request(Method::POST, "/api/v1/namespaces/a/pods", full("{}"));
            let response = client.send(post).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            text(response).await;
            api.kill_connections();
            until("the close", || bed.metrics.upstream_connections.get() == 0).await;
            assert_eq!((api.seen().len(), api.accepted()), (n, n));
        }
    }
}

#[tokio::test]
async fn a_create_whose_connection_breaks_is_never_sent_twice() {
    for alpn in [H2, HTTP11] {
        let arrived = Arc::new(tokio::sync::Notify::new());
        let seen = Arc::clone(&arrived);
        let api = Api::start_with(
            ApiOptions { alpn: vec![alpn], ..ApiOptions::default() },
            handler(move |request| {
                let seen = Arc::clone(&seen);
                async move {
                    request.into_body().collect().await.unwrap();
                    seen.notify_one();
                    std::future::pending().await
                }
            }),
        )
        .await;
        let bed = Bed::before(&api).await;
        for method in [Method::POST, Method::DELETE, Method::GET] {
            let mut client = bed.client(&ClientOptions::http2()).await;
            let before = api.seen().len();
            let body = if method == Method::POST { full("{}") } else { empty() };
            let sent = request(method, "/api/v1/namespaces/a/pods/p", body);
            let (response, ()) = tokio::join!(soon("the answer", client.send(sent)), async {
                soon("the request", arrived.notified()).await;
                api.kill_connections();
            });
            let response = response.unwrap();
            assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
            assert!(!response.headers().contains_key("retry-after"), "a client would repeat it");
            assert!(text(response).await.contains("may or may not have been carried out"));
            assert_eq!(api.seen().len(), before + 1);
        }
    }
}

#[tokio::test]
async fn a_request_that_the_api_server_refused_unprocessed_is_sent_again() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let api = Api::start(ok()).await;
    let reluctant = listener.local_addr().unwrap();
    let (config, roots) = certify("kubernetes.default.svc", &[&rustls::version::TLS13], &[H2]);
    let refused = Arc::new(AtomicBool::new(false));
    let was_refused = Arc::clone(&refused);
    // Refuses each connection's first stream, then answers.
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(config).accept(tcp).await.unwrap();
        let mut h2 = h2::server::handshake(tls).await.unwrap();
        while let Some(Ok((_, mut respond))) = h2.accept().await {
            if was_refused.swap(true, Ordering::SeqCst) {
                respond.send_response(Response::new(()), true).unwrap();
            } else {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
        }
    });
    let options = BedOptions { addresses: vec![reluctant], ..BedOptions::default() };
    let bed = Bed::with(&api, options).await;
    bed.upstream_roots.store(roots);
    let mut client = bed.client(&ClientOptions::http2()).await;
    let response = client.send(get("/version")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(refused.load(Ordering::SeqCst));
}

#[tokio::test]
async fn unused_connections_are_closed() {
    let api = Api::start(ok()).await;
    let timeouts = Timeouts { upstream_idle: Duration::from_millis(100), ..Timeouts::default() };
    let bed = Bed::with(&api, BedOptions { timeouts, ..BedOptions::default() }).await;
    bed.client(&ClientOptions::http2()).await.send(get("/version")).await.unwrap();
    assert_eq!(bed.metrics.upstream_connections.get(), 1);
    until("the close", || bed.metrics.upstream_connections.get() == 0).await;
}

#[tokio::test]
async fn many_requests_to_a_server_that_is_away_fail_at_once_together() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    // Without a CA nobody's certificate is good.
    bed.upstream_roots.store(Arc::new(rustls::RootCertStore::empty()));
    let client = bed.client(&ClientOptions::http2()).await;
    let answers = (0..100).map(|_| {
        let mut sender = client.share().unwrap();
        let mut get = get("/version");
        *get.uri_mut() = "https://kubernetes.default.svc/version".parse().unwrap();
        tokio::spawn(async move { sender.send_request(get).await.unwrap().status() })
    });
    for answer in answers.collect::<Vec<_>>() {
        assert_eq!(soon("an answer", answer).await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(api.accepted() < 50, "{} dials for 100 requests", api.accepted());
}

#[tokio::test]
async fn a_server_that_takes_connections_and_says_nothing_is_unreachable_not_busy() {
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let api = Api::start(ok()).await;
    let timeouts =
        Timeouts { connect: Duration::from_millis(400), stream: Duration::from_millis(100), ..Timeouts::default() };
    let addresses = vec![silent.local_addr().unwrap(); 2];
    let bed = Bed::with(&api, BedOptions { timeouts, addresses, ..BedOptions::default() }).await;
    bed.upstream_roots.store(Arc::new(rustls::RootCertStore::empty()));
    let client = bed.client(&ClientOptions::http2()).await;
    let answers = (0..3).map(|_| {
        let mut sender = client.share().unwrap();
        let mut get = get("/version");
        *get.uri_mut() = "https://kubernetes.default.svc/version".parse().unwrap();
        tokio::spawn(async move { sender.send_request(get).await.unwrap().status() })
    });
    for answer in answers.collect::<Vec<_>>() {
        assert_eq!(soon("an answer", answer).await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
