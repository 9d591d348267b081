//! Answers that come before the client has sent all of its request: they arrive whole, and the connection goes on.

use std::time::Duration;

use guard_proxy::{Limits, Timeouts};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::bed::*;

const NO_SECRETS: &str = r"
apiVersion: egressguard.io/v1alpha1
kind: GuardPolicy
metadata: {name: base}
spec:
  rules:
    - name: no-secrets
      match: {verbs: [create], resources: [secrets]}
      action: Deny
";

/// Denied.
const SECRETS: &str = "/api/v1/namespaces/a/secrets";
/// Allowed, and answered by the bed's API server without a look at the body.
const PODS: &str = "/api/v1/namespaces/a/pods";
/// Less and more than is read for nothing.
const SMALL: [usize; 2] = [10, 100 << 10];
const BIG: usize = 10 << 20;
/// How long a client may take to end its request after the answer.
const SLOW: Duration = Duration::from_millis(50);

/// Whatever is slow here is the machine.
fn options() -> BedOptions {
    throwing_away_for(PATIENCE)
}

fn throwing_away_for(discard: Duration) -> BedOptions {
    let limits = Limits { body_bytes: u64::MAX, ..Limits::default() };
    let timeouts = Timeouts { discard, ..Timeouts::default() };
    BedOptions { policies: NO_SECRETS, limits, timeouts, ..BedOptions::default() }
}

/// An API server with this protocol that reads no body, as Kubernetes' does where it can say no before.
async fn hasty(alpn: &'static [u8]) -> Api {
    let handler = handler(|request: Request<_>| async move {
        let mut response = Response::new(full("what the API server says"));
        if request.method() == Method::POST {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        }
        response
    });
    Api::start_with(ApiOptions { alpn: vec![alpn], ..ApiOptions::default() }, handler).await
}

fn assert_denied(status: StatusCode, body: &[u8]) {
    assert_eq!(status, StatusCode::FORBIDDEN);
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&body["kind"], &body["code"]), (&"Status".into(), &403.into()), "{body}");
}

#[tokio::test]
async fn an_http2_client_that_ends_its_request_after_the_answer_is_not_reset() {
    for upstream in [H2, HTTP11] {
        let api = hasty(upstream).await;
        let bed = Bed::with(&api, options()).await;
        let tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http2()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        for (path, token, code) in [(PODS, AGENT_TOKEN, 405), (SECRETS, AGENT_TOKEN, 403), (PODS, "another", 401)] {
            let head = Request::post(format!("https://kubernetes.default.svc{path}"))
                .header(header::AUTHORIZATION, format!("Bearer {token}"))
                .body(())
                .unwrap();
            let (answer, mut upload) = client.send_request(head, false).unwrap();
            let answer = soon("the answer", answer).await.unwrap();
            assert_eq!(answer.status(), code, "{path}");
            let mut body = answer.into_body();
            while let Some(piece) = soon("the whole answer", body.data()).await {
                let length = piece.unwrap().len();
                body.flow_control().release_capacity(length).unwrap();
            }
            let reset = timeout(SLOW, std::future::poll_fn(|cx| upload.poll_reset(cx))).await;
            assert!(reset.is_err(), "{path} {code}: reset with {reset:?} before the client's end");
            upload.send_data("{}".into(), true).unwrap();
        }
    }
}

#[tokio::test]
async fn an_http2_client_gets_its_whole_answer_and_its_connection_goes_on_whatever_it_sends() {
    let api = hasty(H2).await;
    let bed = Bed::with(&api, options()).await;
    let mut client = bed.client(&ClientOptions::http2()).await;
    for length in [SMALL[0], SMALL[1], BIG] {
        for expect in [false, true] {
            for path in [SECRETS, PODS] {
                let mut post = request(Method::POST, path, full(vec![b'x'; length]));
                if expect {
                    post.headers_mut().insert(header::EXPECT, "100-continue".parse().unwrap());
                }
                let answer = soon("the answer", client.send(post)).await.unwrap();
                let status = answer.status();
                let body = soon("the whole answer", answer.into_body().collect()).await.unwrap().to_bytes();
                if path == SECRETS {
                    assert_denied(status, &body);
                } else {
                    assert_eq!((status.as_u16(), &body[..]), (405, &b"what the API server says"[..]));
                }
                let next = soon("the next answer", client.send(get("/version"))).await.unwrap();
                assert_eq!(next.status(), StatusCode::OK);
            }
        }
    }
    assert_eq!(bed.served(), 1);
    // None twice: 6 that are allowed, and 12 that follow one.
    assert_eq!(api.seen().len(), 18);
}

/// A client that writes all that it has before it reads.
struct Stubborn(TlsStream<TcpStream>);

/// An answer of HTTP/1.1 with a length.
struct Answer {
    status: StatusCode,
    closes: bool,
    body: Vec<u8>,
}

impl Stubborn {
    async fn connect(bed: &Bed) -> Self {
        Self(raw_tls(bed.address, &bed.roots, &ClientOptions::http11()).await.unwrap())
    }

    async fn post(&mut self, path: &str, length: usize, more: &str) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {AGENT_TOKEN}\r\nContent-Length: {length}\r\n{more}\r\n"
        );
        soon("the head", self.0.write_all(head.as_bytes())).await.unwrap();
    }

    async fn body(&mut self, length: usize) {
        let written = async {
            self.0.write_all(&vec![b'x'; length]).await?;
            self.0.flush().await
        };
        soon("the body", written).await.unwrap();
    }

    async fn get(&mut self) {
        let head = format!("GET /version HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {AGENT_TOKEN}\r\n\r\n");
        self.0.write_all(head.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("the answer", self.0.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        soon("the whole answer", self.0.read_exact(&mut body)).await.unwrap();
        let status = head["http/1.1 ".len()..][..3].parse().unwrap();
        Answer { status, closes: head.contains("connection: close"), body }
    }

    /// Waits for the end of what comes, which is to be TLS' own.
    async fn ends_clean(&mut self) {
        let mut more = Vec::new();
        soon("the end", self.0.read_to_end(&mut more)).await.unwrap();
        assert!(more.is_empty(), "{}", String::from_utf8_lossy(&more));
    }
}

#[tokio::test]
async fn an_http1_client_that_reads_nothing_before_it_has_sent_all_gets_its_answer() {
    let api = hasty(H2).await;
    let bed = Bed::with(&api, options()).await;
    let mut client = Stubborn::connect(&bed).await;
    for length in SMALL {
        for path in [SECRETS, PODS] {
            client.post(path, length, "").await;
            tokio::time::sleep(SLOW).await;
            client.body(length).await;
            let answer = client.answer().await;
            assert!(!answer.closes, "{path} {length}");
            if path == SECRETS {
                assert_denied(answer.status, &answer.body);
            } else {
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
            }
            client.get().await;
            assert_eq!(client.answer().await.status, StatusCode::OK);
        }
    }
    assert_eq!(bed.served(), 1);
    client.post(SECRETS, BIG, "").await;
    client.body(BIG).await;
    let answer = client.answer().await;
    assert_denied(answer.status, &answer.body);
    assert!(answer.closes);
    client.ends_clean().await;

    let mut client = Stubborn::connect(&bed).await;
    client.post(PODS, BIG, "").await;
    client.body(BIG).await;
    assert_eq!(client.answer().await.status, StatusCode::METHOD_NOT_ALLOWED);
    client.ends_clean().await;
    assert_eq!(api.seen().iter().filter(|seen| seen.method == "POST").count(), SMALL.len() + 1);
}

#[tokio::test]
async fn a_denied_http1_client_that_waits_to_go_on_gets_its_answer_and_a_clean_end() {
    let api = hasty(H2).await;
    let bed = Bed::with(&api, options()).await;
    for length in [SMALL[0], SMALL[1], BIG] {
        for patient in [true, false] {
            let mut client = Stubborn::connect(&bed).await;
            client.post(SECRETS, length, "Expect: 100-continue\r\n").await;
            if !patient {
                // A client need not wait for ever (RFC 9110, 10.1.1).
                client.body(length).await;
            }
            let answer = client.answer().await;
            assert_denied(answer.status, &answer.body);
            assert!(answer.closes, "{length}");
            client.ends_clean().await;
        }
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn a_request_that_can_not_be_read_is_answered_though_its_rest_is_under_way() {
    let api = hasty(H2).await;
    let bed = Bed::with(&api, options()).await;
    let mut client = Stubborn::connect(&bed).await;
    client.0.write_all(b"POST /api HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n").await.unwrap();
    client.body(BIG).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.closes), (StatusCode::BAD_REQUEST, true));
    client.ends_clean().await;
}

/// A POST in bare HTTP/2 whose body of this length is still to be sent.
async fn open_post(bed: &Bed, path: &str, length: usize) -> (h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>) {
    let tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http2()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    let head = Request::post(format!("https://kubernetes.default.svc{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {AGENT_TOKEN}"))
        .header(header::CONTENT_LENGTH, length)
        .body(())
        .unwrap();
    client.send_request(head, false).unwrap()
}

/// An API server that refuses, with a body that comes after this time or never.
async fn slow_refusals(body_after: Option<Duration>) -> Api {
    Api::start(handler(move |_| async move {
        let (pieces, body) = stream();
        tokio::spawn(async move {
            if let Some(pause) = body_after {
                tokio::time::sleep(pause).await;
                let _ = pieces.send(Ok("no".into())).await;
            } else {
                pieces.closed().await;
            }
        });
        let refusal = Response::builder().status(StatusCode::FORBIDDEN).header(header::CONTENT_LENGTH, "2");
        refusal.body(body).unwrap()
    }))
    .await
}

#[tokio::test]
async fn a_refusal_is_whole_for_a_client_that_gives_up_its_request_at_its_head() {
    let api = slow_refusals(Some(Duration::from_millis(5))).await;
    let bed = Bed::before(&api).await;
    let (refusal, mut upload) = open_post(&bed, PODS, 2).await;
    let refusal = soon("the head", refusal).await.unwrap();
    assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
    // Short of its length.
    upload.send_data("".into(), true).unwrap();
    tokio::time::sleep(SLOW).await;
    assert_eq!(soon("the body", refusal.into_body().data()).await.unwrap().unwrap(), "no");
}

#[tokio::test]
async fn a_refusal_whose_body_does_not_come_keeps_no_client_waiting_for_its_head() {
    let api = slow_refusals(None).await;
    let bed = Bed::before(&api).await;
    let (refusal, _rest) = open_post(&bed, PODS, 2).await;
    assert_eq!(soon("the head", refusal).await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_http2_client_that_sends_too_much_has_time_to_read_its_answer_before_it_is_reset() {
    let api = hasty(H2).await;
    let bed = Bed::with(&api, throwing_away_for(Duration::from_secs(2))).await;
    for (path, code) in [(SECRETS, 403), (PODS, 405)] {
        let (answer, mut upload) = open_post(&bed, path, BIG).await;
        upload.send_data(vec![b'x'; BIG - 1].into(), false).unwrap();
        let answer = soon("the answer", answer).await.unwrap();
        assert_eq!(answer.status(), code);
        let mut body = answer.into_body();
        soon("the whole answer", async { while body.data().await.is_some_and(|piece| piece.is_ok()) {} }).await;
        assert!(body.is_end_stream(), "{path}");
        let mut reset = std::pin::pin!(std::future::poll_fn(|cx| upload.poll_reset(cx)));
        let early = timeout(SLOW, reset.as_mut()).await;
        assert!(early.is_err(), "{path}: {early:?}");
        assert_eq!(soon("the reset", reset).await.unwrap(), h2::Reason::NO_ERROR);
    }
}

#[tokio::test]
async fn an_upload_that_goes_on_after_its_answer_is_ended() {
    const PIECE: usize = 64 << 10;
    /// In HTTP/2, where the guard can make a client stop: what is thrown away, and windows and buffers on the way.
    const ENOUGH: usize = 4 << 20;
    for upstream in [H2, HTTP11] {
        for protocol in ClientOptions::each() {
            for path in [SECRETS, PODS] {
                let api = hasty(upstream).await;
                let bed = Bed::with(&api, throwing_away_for(Duration::from_millis(300))).await;
                let mut client = bed.client(&protocol).await;
                let (pieces, body) = stream();
                let answer = soon("the answer", client.send(request(Method::POST, path, body))).await.unwrap();
                assert!(answer.status().is_client_error());
                soon("the whole answer", answer.into_body().collect()).await.unwrap();
                let mut sent = 0;
                soon("the upload's end", async {
                    while pieces.send(Ok(vec![0; PIECE].into())).await.is_ok() {
                        sent += PIECE;
                    }
                })
                .await;
                assert!(protocol.alpn == [HTTP11] || sent < ENOUGH, "{path}: {sent} bytes");
                assert!(api.seen().len() <= 1);
            }
        }
    }
}
