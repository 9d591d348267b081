//! One line for each exchange, whatever its end.

use std::sync::Arc;

use http::{HeaderValue, Method, Response};
use http_body_util::BodyExt;

use crate::bed::*;

#[tokio::test]
async fn an_exchange_makes_one_line_that_says_who_what_and_how_it_ended() {
    let (lines, _guard) = Lines::collect();
    let api = Api::start(handler(|request| async move {
        request.into_body().collect().await.unwrap();
        Response::new(full("created"))
    }))
    .await;
    let bed = Bed::before(&api).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    let mut post = request(Method::POST, "/apis/apps/v1/namespaces/a/deployments?dryRun=All", full("{}"));
    post.headers_mut().insert("user-agent", HeaderValue::from_static("kubectl/v1.37.2"));
    text(client.send(post).await.unwrap()).await;
    until("the line", || lines.exchanges().len() == 1).await;
    let line = &lines.exchanges()[0];
    for (field, value) in [
        ("namespace", "agents"),
        ("pod", "bot-0"),
        ("class", "chatgpt"),
        ("user", "system:serviceaccount:agents:bot"),
        ("method", "POST"),
        ("verb", "create"),
        ("group", "apps"),
        ("version", "v1"),
        ("resource", "deployments"),
        ("subresource", ""),
        ("object_namespace", "a"),
        ("decision", "allow"),
        ("outcome", "complete"),
        ("user_agent", "kubectl/v1.37.2"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!((&line["status"], &line["bytes_in"], &line["bytes_out"]), (&200.into(), &2.into(), &7.into()));
    assert!(line["duration_ms"].is_u64());
    let audit_id = api.seen()[0].headers["audit-id"].to_str().unwrap().to_owned();
    assert_eq!(line["audit_id"], audit_id);
}

#[tokio::test]
async fn refused_broken_and_abandoned_exchanges_make_a_line_each() {
    let (lines, _guard) = Lines::collect();
    let go = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&go);
    let api = Api::start(handler(move |request| {
        let told = Arc::clone(&told);
        async move {
            let (pieces, body) = stream();
            let breaks = request.uri().path() == "/version";
            tokio::spawn(async move {
                pieces.send(Ok("{}\n".into())).await.unwrap();
                if breaks {
                    told.notified().await;
                    let _ = pieces.send(Err(std::io::Error::other("broken"))).await;
                }
                pieces.closed().await;
            });
            Response::new(body)
        }
    }))
    .await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        let before = lines.exchanges().len();
        let mut client = bed.client(&options).await;
        let mut stranger = get("/api/v1/pods");
        stranger.headers_mut().remove("authorization");
        text(client.send(stranger).await.unwrap()).await;
        let mut broken = client.send(get("/version")).await.unwrap().into_body();
        broken.frame().await.unwrap().unwrap();
        go.notify_one();
        assert!(!ends_clean(&mut broken).await);
        let mut client = bed.client(&options).await;
        let mut watch = client.send(get("/api/v1/pods?watch=1")).await.unwrap().into_body();
        watch.frame().await.unwrap().unwrap();
        client.vanish();
        until("the lines", || lines.exchanges().len() == before + 3).await;
        let ends: Vec<(String, String, u64)> = lines.exchanges()[before..]
            .iter()
            .map(|line| {
                let text = |field: &str| line[field].as_str().unwrap().to_owned();
                (text("decision"), text("outcome"), line["status"].as_u64().unwrap())
            })
            .collect();
        let end = |decision: &str, outcome: &str, status| (decision.to_owned(), outcome.to_owned(), status);
        assert_eq!(
            ends,
            [end("refused", "complete", 401), end("allow", "upstream_broken", 200), end("allow", "client_gone", 200)]
        );
    }
}

#[tokio::test]
async fn no_token_is_in_any_line_at_any_level() {
    let (lines, _guard) = Lines::collect();
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    for options in ClientOptions::each() {
        let mut client = bed.client(&options).await;
        text(client.send(get("/api/v1/pods")).await.unwrap()).await;
        let mut stranger = get("/api/v1/pods");
        stranger.headers_mut().insert("authorization", HeaderValue::from_static("Bearer stolen-token"));
        text(client.send(stranger).await.unwrap()).await;
    }
    until("the lines", || lines.exchanges().len() == 4).await;
    let own: String = lines.all().lines().filter(|line| line.contains("\"target\":\"guard")).collect();
    assert!(own.contains("\"event\":\"exchange\""));
    for secret in [AGENT_TOKEN, "stolen-token", "upstream-0"] {
        assert!(!own.contains(secret), "{secret} is in a line");
    }
}
