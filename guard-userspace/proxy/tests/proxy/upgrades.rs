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
            if !request.headers().contains_key("upgrade") {
                return Response::new(full("ok"));
            }
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
            if let Some(offered) = request.headers().get("sec-websocket-protocol") {
                let first = offered.to_str().unwrap().split(',').next().unwrap().parse().unwrap();
                response.headers_mut().insert("sec-websocket-protocol", first);
            } else {
                response.headers_mut().insert("x-stream-protocol-version", "v4.channel.k8s.io".parse().unwrap());
            }
            response
        }
    });
    (Api::start_with(ApiOptions { alpn, ..ApiOptions::default() }, handler).await, switched)
}

fn exec(protocol: &str) -> Request<TestBody> {
    let mut request = get("/api/v1/namespaces/a/pods/p/exec?command=cat&stdin=true");
    request.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", protocol.parse().unwrap());
    if protocol == "websocket" {
        request.headers_mut().insert("sec-websocket-protocol", "v5.channel.k8s.io".parse().unwrap());
    }
    request
}

/// Both ends of one exec of this protocol through the proxy, and the client that holds it.
async fn upgraded(
    bed: &Bed,
    switched: &mut mpsc::UnboundedReceiver<Stream>,
    protocol: &str,
) -> (Client, Stream, Stream) {
    let mut client = bed.client(&ClientOptions::http11()).await;
    let mut response = client.send(exec(protocol)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], protocol);
    let near = TokioIo::new(soon("the client's stream", hyper::upgrade::on(&mut response)).await.unwrap());
    let far = soon("the API server's stream", switched.recv()).await.unwrap();
    (client, near, far)
}

/// A message of a client, its key being zero, so that it is read as it is written.
fn from_client(payload: &[u8]) -> Vec<u8> {
    [&[0x82, 0x80 + u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload].concat()
}

fn from_server(payload: &[u8]) -> Vec<u8> {
    [&[0x82, u8::try_from(payload.len()).unwrap()], payload].concat()
}

async fn pass(from: &mut Stream, to: &mut Stream, bytes: &[u8]) {
    from.write_all(bytes).await.unwrap();
    from.flush().await.unwrap();
    let mut heard = vec![0; bytes.len()];
    soon("what was said", to.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, bytes);
}

/// Both ends of one exec through the proxy, and the client that holds it. Each side is inside a frame that never ends: what is
/// written from here on is its payload, as it is.
pub(crate) async fn exec_through(
    bed: &Bed,
    switched: &mut mpsc::UnboundedReceiver<Stream>,
) -> (Client, Stream, Stream) {
    let (client, mut near, mut far) = upgraded(bed, switched, "websocket").await;
    let endless = 1_u64 << 40;
    pass(&mut near, &mut far, &[&[0x82, 0xff][..], &endless.to_be_bytes(), &[0; 4], &[0]].concat()).await;
    pass(&mut far, &mut near, &[&[0x82, 0x7f][..], &endless.to_be_bytes(), &[1]].concat()).await;
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
async fn channels_go_both_ways_and_each_direction_ends_by_itself() {
    let (lines, _guard) = Lines::collect();
    let (api, mut switched) = switching(vec![H2, HTTP11]).await;
    let bed = Bed::before(&api).await;
    let (_client, mut near, mut far) = upgraded(&bed, &mut switched, "websocket").await;
    for n in 0..10 {
        pass(&mut near, &mut far, &from_client(format!("\0stdin {n}").as_bytes())).await;
        pass(&mut far, &mut near, &from_server(format!("\u{1}stdout {n}").as_bytes())).await;
    }
    near.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon("the end of stdin", far.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    pass(&mut far, &mut near, &from_server(b"\x02error after the end of stdin")).await;
    let status = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
    pass(&mut far, &mut near, &from_server(&[b"\x03", &status[..]].concat())).await;
    far.shutdown().await.unwrap();
    soon("the end of stdout", near.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    until("the end of the exchange", || bed.open_connections() == 0).await;
    let bytes = |direction| bed.metrics.bytes_total.with_label_values(&[direction]).get();
    assert_eq!((bytes("request"), bytes("response")), (10 * 14, 10 * 11 + 31 + 3 + status.len() as u64));
    let channel = |channel, direction| bed.metrics.stream_bytes_total.with_label_values(&[channel, direction]).get();
    assert_eq!(
        (channel("stdin", "request"), channel("stdout", "response"), channel("stderr", "response")),
        (70, 80, 28)
    );
    let line = &lines.exchanges()[0];
    assert_eq!(line["outcome"], "complete");
    assert_eq!((&line["protocol"], &line["exit"]), (&"v5.channel.k8s.io".into(), &7.into()));
    assert_eq!(line["channels"], format!("stdin=70 stdout=80 stderr=28 error={}", status.len()));
    assert!(line["fault"].is_null());
    assert_eq!(api.seen()[0].headers["authorization"], "Bearer upstream-0");
}

#[tokio::test]
async fn a_client_that_makes_no_sense_is_told_why_and_both_ends_are_over() {
    let (lines, _guard) = Lines::collect();
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::before(&api).await;
    let (_client, mut near, mut far) = upgraded(&bed, &mut switched, "websocket").await;
    pass(&mut near, &mut far, &from_client(b"\0good")).await;
    // The API server takes the reserved opcode for data.
    near.write_all(&[&[0x83][..], &from_client(b"\0rm -rf /")[1..]].concat()).await.unwrap();
    let mut farewell = Vec::new();
    soon("the farewell", near.read_to_end(&mut farewell)).await.unwrap();
    assert_eq!(farewell[0], 0x88, "{farewell:?}");
    assert_eq!(farewell[2..4], 1002_u16.to_be_bytes());
    assert_eq!(farewell[4..], *b"egress guard: a WebSocket frame with the reserved opcode 3");
    near.shutdown().await.unwrap();
    let mut rest = Vec::new();
    assert!(soon("the API server's end", far.read_to_end(&mut rest)).await.is_err());
    assert!(rest.is_empty(), "{rest:?}");
    until("the line", || lines.exchanges().len() == 1).await;
    assert_eq!(
        (&lines.exchanges()[0]["outcome"], &lines.exchanges()[0]["fault"]),
        (&"client_fault".into(), &"opcode".into())
    );
    assert_eq!(bed.metrics.stream_faults_total.with_label_values(&["client", "opcode"]).get(), 1);
    until("no connection left", || bed.metrics.upstream_connections.get() == 0).await;
}

#[tokio::test]
async fn what_is_no_spdy_is_answered_with_goaway() {
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::before(&api).await;
    let (_client, mut near, _far) = upgraded(&bed, &mut switched, "SPDY/3.1").await;
    near.write_all(b"\x80\x02\0\x01hello, world").await.unwrap();
    let mut farewell = Vec::new();
    soon("the farewell", near.read_to_end(&mut farewell)).await.unwrap();
    assert_eq!(farewell, [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(bed.metrics.stream_faults_total.with_label_values(&["client", "spdy_version"]).get(), 0);
    near.shutdown().await.unwrap();
    let counted = || bed.metrics.stream_faults_total.with_label_values(&["client", "spdy_version"]).get() == 1;
    until("the count", counted).await;
}

#[tokio::test]
async fn what_a_server_says_wrong_does_not_reach_the_client_and_what_was_right_does() {
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::before(&api).await;
    let (_client, mut near, mut far) = upgraded(&bed, &mut switched, "websocket").await;
    let good = from_server(b"\x01good");
    far.write_all(&[&good[..], &from_client(b"\x01masked")].concat()).await.unwrap();
    far.flush().await.unwrap();
    let mut heard = Vec::new();
    soon("the farewell", near.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.starts_with(&good));
    assert_eq!(heard[good.len()], 0x88);
    near.shutdown().await.unwrap();
    let counted = || bed.metrics.stream_faults_total.with_label_values(&["server", "masked"]).get() == 1;
    until("the count", counted).await;
}

#[tokio::test]
async fn a_frame_of_a_terabyte_would_not_be_held_a_hundred_megabytes_of_one_pass() {
    let (api, mut switched) = switching(vec![HTTP11]).await;
    let bed = Bed::before(&api).await;
    let (_client, mut near, mut far) = exec_through(&bed, &mut switched).await;
    let total = 100 << 20;
    let sent = tokio::spawn(async move {
        let piece = vec![7; 1 << 20];
        for _ in 0..100 {
            far.write_all(&piece).await.unwrap();
        }
        far.flush().await.unwrap();
        far
    });
    let mut received = 0;
    let mut buffer = vec![0; 1 << 16];
    while received < total {
        let n = soon("bytes", near.read(&mut buffer)).await.unwrap();
        assert_ne!(n, 0, "{received} bytes");
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

/// An API server that answers an upgrade with a 101 of its own making.
async fn switching_to(headers: &'static [(&'static str, &'static str)]) -> Api {
    let answer = move |_| async move {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    };
    Api::start_with(ApiOptions { alpn: vec![HTTP11], ..ApiOptions::default() }, handler(answer)).await
}

#[tokio::test]
async fn a_switch_to_what_was_not_asked_for_is_refused_and_leaves_nothing_behind() {
    const UPGRADE: (&str, &str) = ("connection", "Upgrade");
    let cases: [&'static [(&str, &str)]; 5] = [
        &[UPGRADE, ("upgrade", "SPDY/3.1")],
        &[UPGRADE, ("upgrade", "h2c")],
        &[UPGRADE, ("upgrade", "websocket"), ("sec-websocket-protocol", "v4.channel.k8s.io")],
        &[UPGRADE, ("upgrade", "websocket"), ("sec-websocket-extensions", "permessage-deflate")],
        &[],
    ];
    for headers in cases {
        let api = switching_to(headers).await;
        let limits = guard_proxy::Limits { exchanges: 1, ..guard_proxy::Limits::default() };
        let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
        for _ in 0..2 {
            let mut client = bed.client(&ClientOptions::http11()).await;
            let response = client.send(exec("websocket")).await.unwrap();
            assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{headers:?}");
            let told = text(response).await;
            assert!(told.contains("not asked for"), "{headers:?}: {told}");
        }
        // Nor is a switch that nobody asked for one.
        let mut client = bed.client(&ClientOptions::http11()).await;
        assert_eq!(client.send(get("/version")).await.unwrap().status(), StatusCode::BAD_GATEWAY);
        until("no connection left", || bed.metrics.upstream_connections.get() == 0).await;
        assert_eq!(bed.metrics.upstream_failures_total.with_label_values(&["switch"]).get(), 2);
    }
}

#[tokio::test]
async fn a_client_that_vanishes_in_mid_handshake_leaves_nothing_behind() {
    let hang = handler(|request: Request<Incoming>| async move {
        if request.uri().path() != "/version" {
            std::future::pending::<()>().await;
        }
        Response::new(full("ok"))
    });
    let api = Api::start_with(ApiOptions { alpn: vec![HTTP11], ..ApiOptions::default() }, hang).await;
    let limits = guard_proxy::Limits { exchanges: 1, ..guard_proxy::Limits::default() };
    let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
    let mut client = bed.client(&ClientOptions::http11()).await;
    let asked = tokio::time::timeout(std::time::Duration::from_millis(500), client.send(exec("websocket"))).await;
    assert!(asked.is_err(), "{asked:?}");
    until("the handshake at the API server", || api.seen().len() == 1).await;
    client.vanish();
    until("the connections to be gone", || bed.open_connections() == 0 && bed.metrics.upstream_connections.get() == 0)
        .await;
    let mut next = bed.client(&ClientOptions::http11()).await;
    assert_eq!(next.send(get("/version")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_upgrade_has_its_own_connection_of_http_1_while_other_requests_share_one_of_http_2() {
    let (api, mut switched) = switching(vec![H2, HTTP11]).await;
    let bed = Bed::before(&api).await;
    let mut other = bed.client(&ClientOptions::http2()).await;
    let (_client, mut near, mut far) = upgraded(&bed, &mut switched, "websocket").await;
    assert_eq!(other.send(get("/version")).await.unwrap().status(), StatusCode::OK);
    pass(&mut near, &mut far, &from_client(b"\0still here")).await;
    let versions: Vec<_> = api.seen().iter().map(|seen| (seen.target.contains("exec"), seen.version)).collect();
    assert_eq!(versions, [(true, http::Version::HTTP_11), (false, http::Version::HTTP_2)]);
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
