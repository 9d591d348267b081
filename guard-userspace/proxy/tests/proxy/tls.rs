//! TLS on both sides.

use std::net::{Ipv6Addr, SocketAddr};

use http::{StatusCode, Version};
use rustls::{SupportedProtocolVersion, version};
use tokio::io::AsyncWriteExt;

use crate::bed::*;

static VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

#[tokio::test]
async fn every_pair_of_protocols_and_tls_versions_works() {
    for (server_version, server_alpn) in VERSIONS.iter().flat_map(|v| [(v, H2), (v, HTTP11)]) {
        let options = ApiOptions { versions: vec![server_version], alpn: vec![server_alpn], ..ApiOptions::default() };
        let api = Api::start_with(options, ok()).await;
        let bed = Bed::before(&api).await;
        for (version, alpn) in VERSIONS.iter().flat_map(|v| [(v, H2), (v, HTTP11)]) {
            let options = ClientOptions { versions: vec![version], alpn: vec![alpn], sni: true };
            let mut client = bed.client(&options).await;
            let response = client.send(get("/api/v1/pods?limit=500")).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(text(response).await, "ok");
        }
        let seen = api.seen();
        assert_eq!(seen.len(), 4);
        let expected = if server_alpn == H2 { Version::HTTP_2 } else { Version::HTTP_11 };
        for seen in seen {
            assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/api/v1/pods?limit=500"));
            assert_eq!(seen.version, expected);
            let host = seen.authority.or_else(|| Some(seen.headers["host"].to_str().unwrap().to_owned()));
            assert_eq!(host.as_deref(), Some("kubernetes.default.svc"));
        }
    }
}

#[tokio::test]
async fn a_client_without_sni_or_alpn_is_served() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    let options = ClientOptions { sni: false, alpn: vec![], ..ClientOptions::http2() };
    let mut client = bed.client(&options).await;
    let response = client.send(get("/version")).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_11));
}

#[tokio::test]
async fn an_api_server_on_ipv6_named_by_its_address_is_reached() {
    let options = ApiOptions { ip: Ipv6Addr::LOCALHOST.into(), name: "::1".into(), ..ApiOptions::default() };
    let api = Api::start_with(options, ok()).await;
    let bed = Bed::with(&api, BedOptions { server_name: "::1", ..BedOptions::default() }).await;
    for options in ClientOptions::each() {
        let response = bed.client(&options).await.send(get("/version")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(api.seen()[0].authority.as_deref(), Some("[::1]"));
}

#[tokio::test]
async fn the_next_address_is_dialled_when_one_does_not_answer() {
    let api = Api::start(ok()).await;
    let unused = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let nobody: SocketAddr = unused.local_addr().unwrap();
    drop(unused);
    let bed = Bed::with(&api, BedOptions { addresses: vec![nobody], ..BedOptions::default() }).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    assert_eq!(client.send(get("/version")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_api_server_of_another_ca_gets_no_request_until_the_ca_is_known() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    let (_, foreign) = certify("kubernetes.default.svc", &VERSIONS, &[H2]);
    bed.upstream_roots.store(foreign);
    let mut client = bed.client(&ClientOptions::http2()).await;
    let response = client.send(get("/version")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!response.headers().contains_key("retry-after"));
    let body = text(response).await;
    assert!(body.contains("TLS with") && body.contains("ServiceUnavailable"), "{body}");
    assert!(api.seen().is_empty());
    bed.upstream_roots.store(std::sync::Arc::clone(&api.roots));
    assert_eq!(client.send(get("/version")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_api_server_with_another_name_gets_no_request() {
    let api = Api::start_with(ApiOptions { name: "elsewhere.test".into(), ..ApiOptions::default() }, ok()).await;
    let bed = Bed::before(&api).await;
    let response = bed.client(&ClientOptions::http2()).await.send(get("/version")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn a_client_that_refuses_our_certificate_is_told_to_the_observer() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    let (_, foreign) = certify("kubernetes.default.svc", &VERSIONS, &[H2]);
    for version in VERSIONS {
        let options = ClientOptions { versions: vec![version], ..ClientOptions::http2() };
        raw_tls(bed.address, &foreign, &options).await.unwrap_err();
    }
    until("both refusals", || bed.recorder.told().len() == 2).await;
    assert_eq!(bed.recorder.told(), ["tls agents/bot-0 unknown_ca", "tls agents/bot-0 unknown_ca"]);
    let counted = bed.metrics.tls_failures_total.with_label_values(&["unknown_ca"]).get();
    assert_eq!(counted, 2);
}

#[tokio::test]
async fn a_client_that_leaves_after_the_handshake_is_told_to_the_observer() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    let mut tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http11()).await.unwrap();
    tls.shutdown().await.unwrap();
    until("the refusal", || !bed.recorder.told().is_empty()).await;
    assert_eq!(bed.recorder.told(), ["tls agents/bot-0 closed_without_request"]);
    let mut client = bed.client(&ClientOptions::http11()).await;
    client.send(get("/version")).await.unwrap();
    client.vanish();
    until("the end", || bed.open_connections() == 0).await;
    assert_eq!(bed.recorder.told().len(), 1);
}
