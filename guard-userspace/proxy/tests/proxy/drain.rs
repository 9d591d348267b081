//! The guard is replaced: what ends, how, and when.

use std::{sync::Mutex, time::Duration};

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::bed::*;

async fn api_with_stream() -> (Api, mpsc::Sender<Piece>) {
    let (pieces, body) = stream();
    let body = Mutex::new(Some(body));
    let handler = handler(move |_| {
        let body = body.lock().unwrap().take().unwrap_or_else(empty);
        async move {
            let mut response = Response::new(body);
            response.headers_mut().insert("content-type", "application/json".parse().unwrap());
            response
        }
    });
    (Api::start(handler).await, pieces)
}

async fn next(body: &mut Incoming) -> Option<Result<String, hyper::Error>> {
    let frame = soon("a piece or the end", body.frame()).await?;
    Some(frame.map(|frame| String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()))
}

#[tokio::test]
async fn a_watch_ends_cleanly_at_once_but_not_inside_an_event() {
    for options in ClientOptions::each() {
        let (api, pieces) = api_with_stream().await;
        let bed = Bed::before(&api).await;
        let mut client = bed.client(&options).await;
        let mut watch = client.send(get("/api/v1/pods?watch=1")).await.unwrap().into_body();
        pieces.send(Ok("{\"type\":\"ADDED\"}\n{\"type\":".into())).await.unwrap();
        assert_eq!(next(&mut watch).await.unwrap().unwrap(), "{\"type\":\"ADDED\"}\n{\"type\":");
        bed.drain.start(Duration::from_mins(10));
        let quiet = tokio::time::timeout(Duration::from_millis(200), watch.frame()).await;
        assert!(quiet.is_err(), "it ended inside an event");
        pieces.send(Ok("\"DELETED\"}\n".into())).await.unwrap();
        assert_eq!(next(&mut watch).await.unwrap().unwrap(), "\"DELETED\"}\n");
        assert!(ends_clean(&mut watch).await);
        soon("the connection's end", client.closed()).await;
        until("the end", || bed.open_connections() == 0).await;
    }
}

#[tokio::test]
async fn logs_go_on_until_the_deadline_and_are_cut_there() {
    for options in ClientOptions::each() {
        let (api, pieces) = api_with_stream().await;
        let bed = Bed::before(&api).await;
        let mut client = bed.client(&options).await;
        let mut log = client.send(get("/api/v1/namespaces/a/pods/p/log?follow=1")).await.unwrap().into_body();
        bed.drain.start(Duration::from_millis(500));
        pieces.send(Ok("still here\n".into())).await.unwrap();
        assert_eq!(next(&mut log).await.unwrap().unwrap(), "still here\n");
        assert!(next(&mut log).await.unwrap().is_err());
        until("the end", || bed.open_connections() == 0).await;
    }
}

#[tokio::test]
async fn idle_connections_close_at_once() {
    let api = Api::start(ok()).await;
    let bed = Bed::before(&api).await;
    let mut clients = Vec::new();
    for options in ClientOptions::each() {
        let mut client = bed.client(&options).await;
        text(client.send(get("/version")).await.unwrap()).await;
        clients.push(client);
    }
    bed.drain.start(Duration::from_mins(10));
    for client in clients {
        soon("the close", client.closed()).await;
    }
    until("the end", || bed.open_connections() == 0).await;
}

#[tokio::test]
async fn a_request_under_way_is_answered() {
    for options in ClientOptions::each() {
        let (go, wait) = tokio::sync::watch::channel(false);
        let api = Api::start(handler(move |_| {
            let mut wait = wait.clone();
            async move {
                wait.wait_for(|go| *go).await.unwrap();
                Response::new(full("done"))
            }
        }))
        .await;
        let bed = Bed::before(&api).await;
        let mut client = bed.client(&options).await;
        let (response, ()) = tokio::join!(client.send(get("/version")), async {
            until("the request", || !api.seen().is_empty()).await;
            bed.drain.start(Duration::from_mins(10));
            go.send(true).unwrap();
        });
        assert_eq!(text(response.unwrap()).await, "done");
    }
}

#[tokio::test]
async fn a_cut_workload_loses_its_watches() {
    for options in ClientOptions::each() {
        let (api, pieces) = api_with_stream().await;
        let bed = Bed::before(&api).await;
        let mut client = bed.client(&options).await;
        let mut watch = client.send(get("/api/v1/pods?watch=1")).await.unwrap().into_body();
        pieces.send(Ok("{}\n".into())).await.unwrap();
        assert_eq!(next(&mut watch).await.unwrap().unwrap(), "{}\n");
        bed.cut();
        assert!(next(&mut watch).await.unwrap().is_err());
        soon("the cancellation", pieces.closed()).await;
    }
}
