//! exec, attach and port-forward: bytes both ways after a 101.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use crate::bed::*;

pub(crate) type Stream = TokioIo<hyper::upgrade::Upgraded>;

/// An API server that switches protocols and hands its side of each stream to the test.
pub(crate) async fn switching(alpn: Vec<&'static [u8]>) -> (Api, mpsc::UnboundedReceiver<Stream>) {
    let (streams, switched) = mpsc::unbounded_channel();
    let handler = handler(move |mut request: Request<Incoming>| {
        let streams = streams.clone();
        async move {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                if let Ok(upgraded) = upgrade.await {
                    let _ = streams.send(TokioIo::new(upgraded));
                }
            });
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            for name in ["connection", "upgrade"] {
                response.headers_mut().insert(name, request.headers()[name].clone());
            }
            response.headers_mut().insert("x-stream-protocol-version", "v4.channel.k8s.io".parse().unwrap());
            response
        }
    });
    (Api::start_with(ApiOptions { alpn, ..ApiOptions::default() }, handler).await, switched)
}

fn exec(protocol: &str) -> Request<TestBody> {
    let mut request = get("/api/v1/namespaces/a/pods/p/exec?command=cat&stdin=true");
    request.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", protocol.parse().unwrap());
    request
}

/// Both ends of one exec through the proxy, and the client that holds it.
pub(crate) async fn exec_through(
    bed: &Bed,
    switched: &mut mpsc::UnboundedReceiver<Stream>,
) -> (Client, Stream, Stream) {
    let mut client = bed.client(&ClientOptions::http11()).await;
    let mut response = client.send(exec("SPDY/3.1")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "SPDY/3.1");
    assert_eq!(response.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
    let near = TokioIo::new(soon("the client's stream", hyper::upgrade::on(&mut response)).await.unwrap());
    let far = soon("the API server's stream", switched.recv()).await.unwrap();
    (client, near, far)
}

pub(crate) async fn say(from: &mut Stream, to: &mut Stream, what: &str) {
    from.write_all(what.as_bytes()).await.unwrap();
    from.flush().await.unwrap();
    let mut heard = vec![0; what.len()];
    soon("what was said", to.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, what.as_bytes());
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_direction_ends_by_itself() {
    let (api, mut switched) = switching(vec![H2, HTTP11]).await;
    let bed = Bed::before(&api).await;
    let (_client, mut near, mut far) = exec_through(&bed, &mut switched).await;
    for n in 0..10 {
        say(&mut near, &mut far, &format!("stdin {n}")).await;
        say(&mut far, &mut near, &format!("stdout {n}")).await;
    }
    near.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon("the end of stdin", far.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    say(&mut far, &mut near, "output after the end of stdin").await;
    far.shutdown().await.unwrap();
    soon("the end of stdout", near.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    until("the end of the exchange", || bed.open_connections() == 0).await;
    let bytes = |direction| bed.metrics.bytes_total.with_label_values(&[direction]).get();
    assert_eq!((bytes("request"), bytes("response")), (70, 80 + 29));
    assert_eq!(api.seen()[0].headers["authorization"], "Bearer upstream-0");
}

#[tokio::test]
async fn a_gigabyte_would_not_be_held_a_hundred_megabytes_pass() {
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::before(&api).await;
    let (_client, mut near, mut far) = exec_through(&bed, &mut switched).await;
    let total = 100 << 20;
    let sent = tokio::spawn(async move {
        let piece = vec![7; 1 << 20];
        for _ in 0..100 {
            far.write_all(&piece).await.unwrap();
        }
        far.shutdown().await.unwrap();
        far
    });
    let mut received = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = soon("bytes", near.read(&mut buffer)).await.unwrap();
        if n == 0 {
            break;
        }
        assert!(buffer[..n].iter().all(|byte| *byte == 7));
        received += n;
    }
    assert_eq!(received, total);
    sent.await.unwrap();
}

#[tokio::test]
async fn a_side_that_breaks_breaks_the_other_without_a_clean_end() {
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::before(&api).await;
    let (_client, mut near, mut far) = exec_through(&bed, &mut switched).await;
    say(&mut near, &mut far, "hello").await;
    drop(far);
    let end = soon("the client's end", near.read(&mut [0; 16])).await;
    assert!(end.is_err(), "{end:?}");

    let (client, mut near, mut far) = exec_through(&bed, &mut switched).await;
    say(&mut near, &mut far, "hello").await;
    drop(near);
    client.vanish();
    let end = soon("the API server's end", far.read(&mut [0; 16])).await;
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test]
async fn an_upgrade_that_the_api_server_refuses_is_an_ordinary_answer_and_the_last_one() {
    let api = Api::start(handler(|_| async { status(StatusCode::BAD_REQUEST, "no such container") })).await;
    let bed = Bed::before(&api).await;
    for _ in 0..2 {
        let mut client = bed.client(&ClientOptions::http11()).await;
        let response = client.send(exec("websocket")).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        // What a client sent behind its request may be of the protocol that it asked for.
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(text(response).await, "no such container");
        soon("the end", client.closed()).await;
    }
    until("no connection left", || bed.metrics.upstream_connections.get() == 0).await;
}

#[tokio::test]
async fn websocket_headers_pass_both_ways() {
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::before(&api).await;
    let mut client = bed.client(&ClientOptions::http11()).await;
    let mut request = exec("websocket");
    for (name, value) in [
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "v5.channel.k8s.io,v4.channel.k8s.io"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    soon("the stream", switched.recv()).await.unwrap();
    let headers = api.seen()[0].headers.clone();
    assert_eq!(headers["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(headers["sec-websocket-protocol"], "v5.channel.k8s.io, v4.channel.k8s.io");
    assert!(!headers.contains_key("sec-websocket-extensions"));
}

#[tokio::test]
async fn a_cut_workload_loses_its_streams() {
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::before(&api).await;
    let (_client, mut near, mut far) = exec_through(&bed, &mut switched).await;
    say(&mut near, &mut far, "hello").await;
    bed.cut();
    let end = soon("the client's end", near.read(&mut [0; 16])).await;
    assert!(end.is_err(), "{end:?}");
    let end = soon("the API server's end", far.read(&mut [0; 16])).await;
    assert!(end.is_err(), "{end:?}");
}
