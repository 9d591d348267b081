//! What the API server sees of a request's headers, and the client of a response's.

use std::collections::HashSet;

use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;

use crate::bed::*;

#[tokio::test]
async fn the_api_server_sees_the_pods_own_credential_and_no_identity_that_the_client_claims() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        let mut get = get("/api/v1/pods");
        for (name, value) in [
            ("x-remote-user", "system:admin"),
            ("x-remote-group", "system:masters"),
            ("x-forwarded-for", "10.0.0.1"),
            ("audit-id", "mine"),
            ("cookie", "a=b"),
            ("user-agent", "kubectl/v1.37.2"),
            ("kubectl-command", "kubectl get"),
            ("accept", "application/json"),
        ] {
            get.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        bed.client(&options).await.send(get).await.unwrap();
    }
    let seen = api.seen();
    assert_eq!(seen.len(), 2);
    for seen in seen {
        let names: HashSet<&str> = seen.headers.keys().map(http::HeaderName::as_str).collect();
        let expected = ["authorization", "audit-id", "user-agent", "kubectl-command", "accept"];
        assert_eq!(names, HashSet::from(expected));
        assert_eq!(seen.headers["authorization"], "Bearer upstream-0");
        assert_ne!(seen.headers["audit-id"], "mine");
    }
}

#[tokio::test]
async fn every_exchange_has_an_audit_id_of_its_own() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    for _ in 0..50 {
        client.send(get("/version")).await.unwrap();
    }
    let ids: HashSet<String> =
        api.seen().iter().map(|seen| seen.headers["audit-id"].to_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 50);
    assert!(ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'4'), "{ids:?}");
}

#[tokio::test]
async fn a_request_to_act_as_somebody_else_is_refused_not_stripped() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        for name in ["Impersonate-User", "impersonate-group", "Impersonate-Extra-scopes", "IMPERSONATE-UID"] {
            let mut get = get("/api/v1/pods");
            get.headers_mut()
                .insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("viewer"));
            let response = bed.client(&options).await.send(get).await.unwrap();
            assert_eq!(response.status(), StatusCode::FORBIDDEN);
            let body = text(response).await;
            assert!(body.contains("\"reason\":\"Forbidden\"") && body.contains("impersonate-"), "{body}");
        }
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn the_client_sees_the_api_servers_headers() {
    let api = Api::start(handler(|_| async {
        let mut response = Response::new(full("ok"));
        for (name, value) in [
            ("warning", "299 - \"deprecated\""),
            ("retry-after", "3"),
            ("x-kubernetes-pf-flowschema-uid", "a"),
            ("etag", "\"1\""),
            ("alt-svc", "h3=\":443\""),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }))
    .await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        let response = bed.client(&options).await.send(get("/version")).await.unwrap();
        let headers = response.headers();
        assert_eq!(headers["warning"], "299 - \"deprecated\"");
        assert_eq!(headers["retry-after"], "3");
        assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], "a");
        assert_eq!(headers["etag"], "\"1\"");
        assert_eq!(headers["content-length"], "2");
        assert!(!headers.contains_key("alt-svc"));
    }
}

#[tokio::test]
async fn trailers_of_a_request_stay_behind() {
    let (said, mut says) = tokio::sync::mpsc::channel(1);
    let api = Api::start(handler(move |request| {
        let said = said.clone();
        async move {
            let whole = request.into_body().collect().await.unwrap();
            said.send(whole.trailers().cloned()).await.unwrap();
            Response::new(full("ok"))
        }
    }))
    .await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("impersonate-user", HeaderValue::from_static("system:admin"));
        let body = full("{}").with_trailers(async move { Some(Ok(trailers)) }).boxed();
        let mut post = request(Method::POST, "/api/v1/namespaces/a/pods", body);
        post.headers_mut().insert("trailer", HeaderValue::from_static("impersonate-user"));
        let response = bed.client(&options).await.send(post).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(soon("the request", says.recv()).await.unwrap(), None);
    }
}
