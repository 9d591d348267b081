//! Answers of an API server, or of what is behind it, that two readers could read differently.

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::bed::*;

/// Answers each connection's first request with these bytes, and closes.
async fn answering(
    bytes: &'static [u8],
) -> (std::net::SocketAddr, std::sync::Arc<rustls::RootCertStore>, tokio::task::JoinSet<()>) {
    let versions = [&rustls::version::TLS13];
    let (config, roots) = certify("kubernetes.default.svc", &versions, &[HTTP11]);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut accepting = tokio::task::JoinSet::new();
    accepting.spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut tls) = TlsAcceptor::from(std::sync::Arc::clone(&config)).accept(tcp).await else { continue };
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") {
                match tls.read_u8().await {
                    Ok(byte) => read.push(byte),
                    Err(_) => break,
                }
            }
            // Whether the other side takes it is the test's question.
            let _ = tls.write_all(bytes).await;
            let _ = tls.shutdown().await;
        }
    });
    (address, roots, accepting)
}

/// What a client gets when the API server answers with `bytes`: status and body, or a broken answer.
async fn answered(bytes: &'static [u8], method: http::Method, client: &ClientOptions) -> Result<(u16, String), String> {
    let (address, roots, _accepting) = answering(bytes).await;
    let api = Api::at(address, roots);
    let bed = Bed::before(&api).await;
    let response = bed.client(client).await.send(request(method, "/version", empty())).await;
    let response = response.map_err(|error| format!("no answer: {error}"))?;
    let status = response.status().as_u16();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.map_err(|error| error.to_string())?;
    Ok((status, String::from_utf8(body.to_bytes().to_vec()).unwrap()))
}

#[tokio::test]
async fn an_answer_that_can_not_be_read_is_502() {
    for (name, bytes) in [
        ("nothing", &b""[..]),
        ("no HTTP", b"hello\r\n\r\n"),
        ("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
        ("NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ("a space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
        ("a folded header", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
        ("a length that is none", b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
        ("a length with a sign", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
        (
            "both lengths",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("an unknown encoding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (
            "chunked, then identity",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("an encoding in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (
            "a protocol that nobody asked for",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
    ] {
        for client in ClientOptions::each() {
            let (status, body) =
                answered(bytes, http::Method::GET, &client).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(status, StatusCode::BAD_GATEWAY.as_u16(), "{name}: {body}");
            assert!(body.contains("\"kind\":\"Status\""), "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_not_the_next_one() {
    for (name, method, bytes, expected) in [
        ("two answers", http::Method::GET, &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"[..], (200, "ok")),
        ("204 with a body", http::Method::GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\nsmuggled", (204, "")),
        ("304 with a body", http::Method::GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\nsmuggled", (304, "")),
        ("an answer to HEAD with a body", http::Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled", (200, "")),
        ("many interim answers", http::Method::GET, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", (200, "ok")),
    ] {
        for client in ClientOptions::each() {
            let (address, roots, _accepting) = answering(bytes).await;
            let api = Api::at(address, roots);
            let bed = Bed::before(&api).await;
            let mut client = bed.client(&client).await;
            for _ in 0..2 {
                let response = client.send(request(method.clone(), "/version", empty())).await.unwrap();
                let status = response.status().as_u16();
                assert_eq!((status, &text(response).await[..]), expected, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_in_its_body_breaks_for_the_client() {
    for (name, bytes) in [
        ("short of its length", &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"[..]),
        ("a chunk of no size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n"),
        ("no last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
        ("a chunk longer than its size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n"),
    ] {
        for client in ClientOptions::each() {
            let answered = answered(bytes, http::Method::GET, &client).await;
            assert!(answered.is_err(), "{name}: {answered:?}");
        }
    }
}
