//! What happens to the API server while its clients live: another CA, one of two that dies.

use std::time::Duration;

use bytes::Bytes;
use guard_proxy::Limits;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::bed::*;

/// Watches that send an event every moment.
fn ticking() -> Handler {
    handler(|request| async move {
        if request.uri().query().is_none() {
            return Response::new(full("ok"));
        }
        let (pieces, body) = stream();
        tokio::spawn(async move {
            while pieces.send(Ok(Bytes::from_static(b"tick"))).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Response::new(body)
    })
}

#[tokio::test]
async fn a_new_ca_counts_for_connections_made_from_then_on_and_no_client_has_to_come_again() {
    let (old, new) = (Api::start(ticking()).await, Api::start(ticking()).await);
    let bed = Bed::before(&old).await;
    for options in ClientOptions::each() {
        bed.upstream_roots.store(old.roots.clone());
        bed.addresses.send(vec![old.address]).unwrap();
        let mut client = bed.client(&options).await;
        assert_eq!(text(client.send(get("/version")).await.unwrap()).await, "ok");
        let mut watcher = bed.client(&options).await;
        let mut watch = watcher.send(get("/api/v1/pods?watch=1")).await.unwrap().into_body();
        bed.upstream_roots.store(new.roots.clone());
        // What was connected before goes on, on both sides.
        assert_eq!(soon("an event", watch.frame()).await.unwrap().unwrap().into_data().unwrap(), "tick");
        assert_eq!(text(client.send(get("/version")).await.unwrap()).await, "ok");
        old.kill_connections();
        until("the end", || bed.metrics.upstream_connections.get() == 0).await;
        // The old certificate is worth nothing any more.
        assert_eq!(client.send(get("/version")).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        bed.addresses.send(vec![new.address]).unwrap();
        assert_eq!(text(client.send(get("/version")).await.unwrap()).await, "ok");
        new.kill_connections();
        until("the end", || bed.metrics.upstream_connections.get() == 0).await;
    }
}

#[tokio::test]
async fn of_two_api_servers_one_dies_and_only_what_it_was_doing_breaks() {
    let (first, second) = (Api::start(ticking()).await, Api::start(ticking()).await);
    // One certificate for both, as a cluster's CA gives them: here each has its own CA, and both are trusted.
    let mut roots = rustls::RootCertStore::clone(&first.roots);
    roots.roots.extend(second.roots.roots.iter().cloned());
    // A stream for each connection, so that the watches are on both.
    let limits = Limits { upstream_streams: 1, ..Limits::default() };
    let options = BedOptions { limits, addresses: vec![first.address], ..BedOptions::default() };
    let bed = Bed::with(&second, options).await;
    bed.upstream_roots.store(roots.into());
    let mut client = bed.client(&ClientOptions::http2()).await;
    let mut watches = Vec::new();
    for _ in 0..6 {
        watches.push(client.send(get("/api/v1/pods?watch=1")).await.unwrap().into_body());
    }
    assert!(first.accepted() >= 2 && second.accepted() >= 2);
    let on_first = first.seen().len();
    drop(first);
    let mut broken = 0;
    for watch in &mut watches {
        let mut events = 0;
        while events < 50 {
            match soon("an event", watch.frame()).await {
                Some(Ok(_)) => events += 1,
                Some(Err(_)) => break,
                None => panic!("a watch ended as if it were over"),
            }
        }
        broken += usize::from(events < 50);
    }
    assert_eq!(broken, on_first, "those of the one that died, and no others");
    for _ in 0..20 {
        let response = client.send(request(Method::POST, "/api/v1/namespaces/a/pods", full("{}"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        text(response).await;
        assert_eq!(client.send(get("/api/v1/pods?watch=1")).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn answers_without_a_body_pass_as_they_are() {
    for alpn in [H2, HTTP11] {
        let api = Api::start_with(
            ApiOptions { alpn: vec![alpn], ..ApiOptions::default() },
            handler(|request| async move {
                let mut response = Response::new(empty());
                if request.headers().contains_key(header::IF_NONE_MATCH) {
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                    response.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"1\""));
                } else if request.method() == Method::HEAD {
                    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("12345"));
                } else {
                    *response.status_mut() = StatusCode::NO_CONTENT;
                }
                response
            }),
        )
        .await;
        let bed = Bed::before(&api).await;
        for options in ClientOptions::each() {
            let mut client = bed.client(&options).await;
            let head = client.send(request(Method::HEAD, "/openapi/v3", empty())).await.unwrap();
            assert_eq!((head.status(), &head.headers()["content-length"]), (StatusCode::OK, &"12345".parse().unwrap()));
            assert_eq!(text(head).await, "");
            let mut conditional = get("/openapi/v3");
            conditional.headers_mut().insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"1\""));
            let unchanged = client.send(conditional).await.unwrap();
            assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(unchanged.headers()["etag"], "\"1\"");
            assert_eq!(text(unchanged).await, "");
            let nothing = client.send(get("/openapi/v3")).await.unwrap();
            assert_eq!(nothing.status(), StatusCode::NO_CONTENT);
            assert_eq!(text(nothing).await, "");
        }
    }
}

#[tokio::test]
async fn trailers_of_an_answer_arrive() {
    let api = Api::start(handler(|_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("abc"));
        let frames = [Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers))];
        Response::new(StreamBody::new(futures::stream::iter(frames)).boxed())
    }))
    .await;
    let bed = Bed::before(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let whole = client.send(get("/version")).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["x-checksum"], "abc");
    assert_eq!(whole.to_bytes(), "body");
}
