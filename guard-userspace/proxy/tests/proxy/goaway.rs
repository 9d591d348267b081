//! An API server that goes away, in every state of a request: nothing that it may have carried out is sent again.

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use crate::bed::{
    frames::{
        flag::{END_HEADERS, END_STREAM},
        frame,
        kind::{DATA, HEADERS},
    },
    *,
};

const PODS: &str = "/api/v1/namespaces/a/pods";
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;

/// A bed before an API server that the test plays.
async fn bed(api: &RawApi) -> Bed {
    let unused = Api::start(ok()).await;
    let bed = Bed::with(&unused, BedOptions { addresses: vec![api.address; 2], ..BedOptions::default() }).await;
    bed.upstream_roots.store(api.roots.clone());
    bed
}

#[tokio::test]
async fn before_a_request_it_costs_nothing() {
    let api = RawApi::listen().await;
    let bed = bed(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    for _ in 0..3 {
        let serve = async {
            let mut connection = api.accept().await;
            let stream = connection.request().await;
            connection.answer(stream, b"done").await;
            connection.send(&goaway(stream, NO_ERROR)).await;
            while connection.next().await.is_some() {}
        };
        let (response, ()) = tokio::join!(client.send(request(Method::POST, PODS, full("{}"))), serve);
        assert_eq!(text(response.unwrap()).await, "done");
        until("the end", || bed.metrics.upstream_connections.get() == 0).await;
    }
}

#[tokio::test]
async fn a_request_that_was_not_processed_is_sent_again_if_it_has_no_body() {
    let api = RawApi::listen().await;
    let bed = bed(&api).await;
    for method in [Method::GET, Method::DELETE] {
        let mut client = bed.client(&ClientOptions::http2()).await;
        let serve = async {
            let mut first = api.accept().await;
            first.request().await;
            first.send(&goaway(0, NO_ERROR)).await;
            let mut second = api.accept().await;
            let stream = second.request().await;
            second.answer(stream, b"done").await;
            second.send(&goaway(stream, NO_ERROR)).await;
        };
        let (response, ()) = tokio::join!(client.send(request(method, PODS, empty())), serve);
        assert_eq!(text(response.unwrap()).await, "done");
        until("the end", || bed.metrics.upstream_connections.get() == 0).await;
    }
}

#[tokio::test]
async fn a_request_that_was_not_processed_and_has_a_body_is_left_to_the_client() {
    let api = RawApi::listen().await;
    let bed = bed(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let serve = async {
        let mut first = api.accept().await;
        first.request().await;
        // Its body has come as well.
        while first.next().await.is_some_and(|(kind, flags, ..)| kind != DATA || flags & END_STREAM == 0) {}
        first.send(&goaway(0, NO_ERROR)).await;
    };
    let (response, ()) = tokio::join!(client.send(request(Method::POST, PODS, full("{}"))), serve);
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    // What the client sends again is another request.
    let serve = async {
        let mut second = api.accept().await;
        let stream = second.request().await;
        second.answer(stream, b"done").await;
    };
    let (response, ()) = tokio::join!(client.send(request(Method::POST, PODS, full("{}"))), serve);
    assert_eq!(text(response.unwrap()).await, "done");
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_never_sent_again() {
    let api = RawApi::listen().await;
    let bed = bed(&api).await;
    for (last, code) in [(1, INTERNAL_ERROR), (0, INTERNAL_ERROR)] {
        for method in [Method::POST, Method::DELETE] {
            let mut client = bed.client(&ClientOptions::http2()).await;
            let serve = async {
                let mut connection = api.accept().await;
                connection.request().await;
                connection.send(&goaway(last, code)).await;
            };
            let body = if method == Method::POST { full("{}") } else { empty() };
            let (response, ()) = tokio::join!(client.send(request(method, PODS, body)), serve);
            let response = response.unwrap();
            assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
            assert!(!response.headers().contains_key("retry-after"));
            until("the end", || bed.metrics.upstream_connections.get() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_request_under_way_is_finished_in_the_middle_of_its_body_and_of_its_answer() {
    let api = RawApi::listen().await;
    let bed = bed(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let (pieces, body) = stream();
    let client_side = async {
        let sent = client.send(request(Method::POST, PODS, body));
        let (response, ()) = tokio::join!(sent, async {
            pieces.send(Ok(Bytes::from_static(b"{"))).await.unwrap();
            // Taken once the first has gone out.
            pieces.send(Ok(Bytes::from_static(b" "))).await.unwrap();
            pieces.send(Ok(Bytes::from_static(b"}"))).await.unwrap();
            drop(pieces);
        });
        text(response.unwrap()).await
    };
    let serve = async {
        let mut connection = api.accept().await;
        let stream = connection.request().await;
        connection.send(&goaway(stream, NO_ERROR)).await;
        let mut body = Vec::new();
        while let Some((kind, flags, _, payload)) = connection.next().await {
            if kind == DATA {
                body.extend(payload);
                if flags & END_STREAM != 0 {
                    break;
                }
            }
        }
        assert_eq!(body, b"{ }");
        connection.send(&frame(HEADERS, END_HEADERS, stream, STATUS_200)).await;
        connection.send(&frame(DATA, 0, stream, b"first ")).await;
        connection.send(&goaway(stream, NO_ERROR)).await;
        connection.send(&frame(DATA, END_STREAM, stream, b"last")).await;
        while connection.next().await.is_some() {}
    };
    let (answer, ()) = tokio::join!(client_side, serve);
    assert_eq!(answer, "first last");
}

#[tokio::test]
async fn an_answer_that_it_leaves_behind_is_broken_off_and_the_next_request_finds_another_connection() {
    let api = RawApi::listen().await;
    let bed = bed(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let serve = async {
        let mut connection = api.accept().await;
        let stream = connection.request().await;
        connection.send(&frame(HEADERS, END_HEADERS, stream, STATUS_200)).await;
        connection.send(&frame(DATA, 0, stream, b"event")).await;
        connection.send(&goaway(stream, NO_ERROR)).await;
        connection
    };
    let (watch, first) = tokio::join!(client.send(get("/api/v1/pods?watch=1")), serve);
    let mut watch = watch.unwrap().into_body();
    assert_eq!(soon("an event", watch.frame()).await.unwrap().unwrap().into_data().unwrap(), "event");
    // The watch lives on its old connection; what is new takes another.
    let serve = async {
        let mut connection = api.accept().await;
        let stream = connection.request().await;
        connection.answer(stream, b"done").await;
        connection
    };
    let (response, _second) = tokio::join!(client.send(get("/version")), serve);
    assert_eq!(text(response.unwrap()).await, "done");
    drop(first);
    assert!(!ends_clean(&mut watch).await);
}
