//! Denials, and everything else that the guard answers itself.

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::*;

const NO_DELETIONS: &str = r"
apiVersion: egressguard.io/v1alpha1
kind: GuardPolicy
metadata: {name: base}
spec:
  rules:
    - name: no-namespace-deletion
      match: {verbs: [delete, deletecollection], resources: [namespaces]}
      action: Deny
      message: Namespaces are deleted by people.
    - name: no-exec
      match: {verbs: ['*'], resources: [pods/exec]}
      action: Deny
    - name: no-secrets
      match: {verbs: [create], resources: [secrets]}
      action: Deny
";

async fn bed(api: &Api) -> Bed {
    Bed::with(api, BedOptions { policies: NO_DELETIONS, ..BedOptions::default() }).await
}

#[tokio::test]
async fn a_denied_request_gets_a_status_and_the_connection_goes_on() {
    let api = Api::start(ok()).await;
    let bed = bed(&api).await;
    for (n, options) in ClientOptions::each().iter().enumerate() {
        let mut client = bed.client(options).await;
        let denied = client.send(request(Method::DELETE, "/api/v1/namespaces/prod", empty())).await.unwrap();
        assert_eq!(denied.status(), StatusCode::FORBIDDEN);
        assert_eq!(denied.headers()["content-type"], "application/json");
        let status: Value = serde_json::from_str(&text(denied).await).unwrap();
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["apiVersion"], "v1");
        assert_eq!(status["reason"], "Forbidden");
        assert_eq!(status["code"], 403);
        assert_eq!(status["details"]["causes"][0]["field"], "base/no-namespace-deletion");
        let message = status["message"].as_str().unwrap();
        assert!(message.starts_with("namespaces \"prod\" is forbidden: User \"system:serviceaccount:agents:bot\""));
        assert!(message.ends_with("Namespaces are deleted by people."), "{message}");
        assert_eq!(client.send(get("/api/v1/namespaces")).await.unwrap().status(), StatusCode::OK);
        assert_eq!(bed.served(), u64::try_from(n).unwrap() + 1, "another connection was needed");
    }
    let targets: Vec<String> = api.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/api/v1/namespaces", "/api/v1/namespaces"]);
    let denied = bed.metrics.exchanges_total.with_label_values(&["delete", "deny", "403"]).get();
    assert_eq!(denied, 2);
}

#[tokio::test]
async fn a_denied_request_with_a_body_leaves_the_connection_too() {
    let api = Api::start(ok()).await;
    let bed = bed(&api).await;
    for options in ClientOptions::each() {
        let before = bed.served();
        let mut client = bed.client(&options).await;
        let secret = request(Method::POST, "/api/v1/namespaces/a/secrets", full(vec![b'x'; 4096]));
        let denied = client.send(secret).await.unwrap();
        assert_eq!(denied.status(), StatusCode::FORBIDDEN);
        denied.into_body().collect().await.unwrap();
        assert_eq!(client.send(get("/version")).await.unwrap().status(), StatusCode::OK);
        assert_eq!(bed.served(), before + 1);
    }
    assert_eq!(api.seen().len(), 2);
}

#[tokio::test]
async fn a_denied_upload_without_end_is_answered_all_the_same() {
    let api = Api::start(ok()).await;
    let bed = bed(&api).await;
    for options in ClientOptions::each() {
        let (pieces, body) = stream();
        pieces.send(Ok(Bytes::from_static(b"{"))).await.unwrap();
        let secret = request(Method::POST, "/api/v1/namespaces/a/secrets", body);
        let mut client = bed.client(&options).await;
        let denied = soon("the denial", client.send(secret)).await.unwrap();
        assert_eq!(denied.status(), StatusCode::FORBIDDEN);
    }
    assert!(api.seen().is_empty());
}

/// Sends `head` as it is over TLS and returns all that comes back until the proxy closes or `enough` is in it.
async fn exchange(bed: &Bed, head: &str, enough: &str) -> String {
    let mut tls = raw_tls(bed.address, &bed.roots, &ClientOptions::http11()).await.unwrap();
    tls.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    soon("the answer", async {
        while let Ok(n @ 1..) = tls.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..n]);
            if String::from_utf8_lossy(&answer).contains(enough) {
                break;
            }
        }
    })
    .await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_denied_request_that_waits_for_100_continue_is_never_told_to_go_on() {
    let api = Api::start(ok()).await;
    let bed = bed(&api).await;
    let head = format!(
        "POST /api/v1/namespaces/a/secrets HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {AGENT_TOKEN}\r\n\
         Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    );
    let answer = exchange(&bed, &head, "\"code\":403").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
}

#[tokio::test]
async fn forms_of_request_that_have_no_place_here_are_refused() {
    let api = Api::start(ok()).await;
    let bed = bed(&api).await;
    let rest = format!("Host: k\r\nAuthorization: Bearer {AGENT_TOKEN}\r\n\r\n");
    for (line, code) in [
        ("GET https://kubernetes.default.svc/api/v1/pods HTTP/1.1", "400"),
        ("GET http://elsewhere.test/ HTTP/1.1", "400"),
        ("CONNECT elsewhere.test:443 HTTP/1.1", "400"),
        ("OPTIONS * HTTP/1.1", "400"),
        ("GET /api/v1/namespaces/a/../b/pods HTTP/1.1", "400"),
        ("GET /api/v1/pods?watch=%zz HTTP/1.1", "400"),
    ] {
        let answer = exchange(&bed, &format!("{line}\r\n{rest}"), "\"code\":").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{line}: {answer}");
        assert!(answer.contains("\"kind\":\"Status\""), "{line}: {answer}");
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn requests_smuggled_in_one_another_are_refused() {
    let api = Api::start(ok()).await;
    let bed = bed(&api).await;
    let auth = format!("Host: k\r\nAuthorization: Bearer {AGENT_TOKEN}\r\n");
    let hidden = format!("DELETE /api/v1/namespaces/prod HTTP/1.1\r\n{auth}\r\n");
    for framing in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length : 5\r\n",
    ] {
        let head = format!("POST /api/v1/namespaces/a/pods HTTP/1.1\r\n{auth}{framing}\r\n0\r\n\r\n{hidden}");
        let answer = exchange(&bed, &head, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing}: {answer}");
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

#[tokio::test]
async fn the_gate_is_answered_by_the_guard_alone_and_only_with_a_token() {
    let api = Api::start(ok()).await;
    let bed = bed(&api).await;
    for options in ClientOptions::each() {
        let mut client = bed.client(&options).await;
        let proof = client.send(get(guard_proxy::GATE_PATH)).await.unwrap();
        assert_eq!(proof.status(), StatusCode::OK);
        let proof: guard_proxy::GateProof = serde_json::from_str(&text(proof).await).unwrap();
        assert_eq!((proof.pod.as_str(), proof.packets_dropped), ("bot-0", 2));
        let mut stranger = get(guard_proxy::GATE_PATH);
        stranger.headers_mut().remove("authorization");
        assert_eq!(client.send(stranger).await.unwrap().status(), StatusCode::UNAUTHORIZED);
        let other = client.send(get("/egressguard.io/v1/anything")).await.unwrap();
        assert_eq!(other.status(), StatusCode::NOT_FOUND);
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn a_denied_exec_is_refused_before_any_upgrade() {
    let api = Api::start(ok()).await;
    let bed = bed(&api).await;
    let mut client = bed.client(&ClientOptions::http11()).await;
    let mut exec = get("/api/v1/namespaces/a/pods/p/exec?command=sh");
    exec.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    exec.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    let denied = client.send(exec).await.unwrap();
    assert_eq!(denied.status(), StatusCode::FORBIDDEN);
    assert!(text(denied).await.contains("no-exec"));
    assert_eq!(api.accepted(), 0);
}
