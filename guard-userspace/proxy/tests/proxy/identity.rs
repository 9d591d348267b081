//! Tokens: the agent's towards the guard, the pod's towards the API server.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use crate::bed::*;

fn with_token(token: Option<&str>) -> Request<TestBody> {
    let mut get = get("/api/v1/pods");
    get.headers_mut().remove(header::AUTHORIZATION);
    if let Some(token) = token {
        get.headers_mut().insert(header::AUTHORIZATION, HeaderValue::try_from(token).unwrap());
    }
    get
}

#[tokio::test]
async fn a_request_without_a_token_of_this_pod_gets_401_and_says_so_to_the_observer() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    for (token, says) in [
        (None, "no bearer token"),
        (Some("Basic eDp5"), "no bearer token"),
        (Some("Bearer stolen"), "belongs to another pod"),
        (Some("Bearer expired"), "has expired"),
    ] {
        let response = client.send(with_token(token)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let body = text(response).await;
        assert!(body.contains("\"reason\":\"Unauthorized\"") && body.contains(says), "{body}");
        assert!(!body.contains("stolen"), "{body}");
    }
    let auth = |reason| format!("auth agents/bot-0 {reason}");
    assert_eq!(bed.recorder.told(), [auth("missing"), auth("missing"), auth("other_pod"), auth("expired")]);
    assert!(api.seen().is_empty());
    assert_eq!(client.send(get("/api/v1/pods")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(bed.served(), 1);
}

#[tokio::test]
async fn a_token_that_the_api_server_does_not_take_is_read_again_and_the_request_repeated() {
    let api = Api::start(handler(|request| async move {
        let code = match request.headers()["authorization"].to_str().unwrap() {
            "Bearer upstream-0" => StatusCode::UNAUTHORIZED,
            _ => StatusCode::OK,
        };
        status(code, "")
    }))
    .await;
    let bed = Bed::before(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    assert_eq!(client.send(get("/api/v1/pods")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(api.seen().len(), 2);
}

#[tokio::test]
async fn a_401_is_passed_on_for_a_request_whose_body_is_gone() {
    let api = Api::start(handler(|_| async { status(StatusCode::UNAUTHORIZED, "no") })).await;
    let bed = Bed::before(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let response = client.send(request(Method::POST, "/api/v1/namespaces/a/pods", full("{}"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.seen().len(), 1);
    assert_eq!(bed.credentials.generation.load(Ordering::SeqCst), 1, "the token is read again before its next use");
}

#[tokio::test]
async fn without_an_upstream_token_requests_fail_and_the_observer_knows() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    bed.credentials.gone.store(true, Ordering::SeqCst);
    let mut client = bed.client(&ClientOptions::http11()).await;
    let response = client.send(get("/api/v1/pods")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(bed.recorder.told(), ["credentials agents/bot-0"]);
    assert!(api.seen().is_empty());
    bed.credentials.gone.store(false, Ordering::SeqCst);
    assert_eq!(client.send(get("/api/v1/pods")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_token_in_a_websocket_subprotocol_authenticates_and_goes_no_further() {
    let upgraded = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&upgraded);
    let api = Api::start(handler(move |request| {
        let protocols = request.headers()["sec-websocket-protocol"].to_str().unwrap().to_owned();
        assert_eq!(protocols, "v5.channel.k8s.io");
        count.fetch_add(1, Ordering::SeqCst);
        async { Response::new(full("not today")) }
    }))
    .await;
    let bed = Bed::before(&api).await;
    let mut get = with_token(None);
    // base64url of the agent's token
    let bearer = "base64url.bearer.authorization.k8s.io.dGhlLWFnZW50cy10b2tlbg";
    let protocols = format!("{bearer}, v5.channel.k8s.io");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", &protocols),
    ] {
        get.headers_mut().insert(name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let response = bed.client(&ClientOptions::http11()).await.send(get).await.unwrap();
    assert_eq!(text(response).await, "not today");
    assert_eq!(upgraded.load(Ordering::SeqCst), 1);
}
