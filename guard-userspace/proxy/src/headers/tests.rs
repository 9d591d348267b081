use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn forward(pairs: &[(&'static str, &str)], upgrade: Option<UpgradeProtocol>) -> HeaderMap {
    let own = (HeaderValue::from_static("Bearer upstream"), HeaderValue::from_static("an-audit-id"));
    forwarded(&headers(pairs), upgrade, Some(own.0), own.1)
}

#[test]
fn no_header_of_identity_passes() {
    let sent = [
        ("authorization", "Bearer agent"),
        ("x-remote-user", "system:admin"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-scopes", "a"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("audit-id", "chosen-by-the-agent"),
        ("cookie", "a=b"),
        ("x-anything", "b"),
        ("transfer-encoding", "chunked"),
        ("content-length", "7"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("connection", "upgrade, x-anything"),
        ("accept", "application/json"),
    ];
    let passed = forward(&sent, None);
    let mut names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "audit-id", "authorization"]);
    assert_eq!(passed["authorization"], "Bearer upstream");
    assert_eq!(passed["audit-id"], "an-audit-id");
}

#[test]
fn what_kubectl_sends_passes() {
    let sent = [
        ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
        ("accept-encoding", "gzip"),
        ("content-type", "application/apply-patch+yaml"),
        ("if-none-match", "\"1\""),
        ("kubectl-command", "kubectl get"),
        ("kubectl-session", "d6f0"),
        ("user-agent", "kubectl/v1.37.2"),
    ];
    let passed = forward(&sent, None);
    for (name, value) in sent {
        assert_eq!(passed[name], value);
    }
}

#[test]
fn a_token_among_the_subprotocols_does_not_pass() {
    let sent = [
        ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj"),
        ("sec-websocket-protocol", "Base64url.Bearer.authorization.k8s.io.YWJj,v4.channel.k8s.io"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ];
    let passed = forward(&sent, Some(UpgradeProtocol::WebSocket));
    assert_eq!(passed["sec-websocket-protocol"], "v5.channel.k8s.io, v4.channel.k8s.io");
    assert_eq!(passed["upgrade"], "websocket");
    assert_eq!(passed["connection"], "Upgrade");
    assert!(!passed.contains_key("sec-websocket-extensions"));
}

#[test]
fn the_token_is_taken_from_where_the_api_server_takes_it() {
    let of = |pairs: &[(&'static str, &str)]| bearer(&headers(pairs)).map(|token| token.map(|token| token.to_string()));
    assert_eq!(of(&[]), Ok(None));
    assert_eq!(of(&[("authorization", "Bearer abc")]), Ok(Some("abc".to_owned())));
    assert_eq!(of(&[("authorization", "Basic abc")]), Ok(None));
    let protocol = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
    assert_eq!(of(&[("sec-websocket-protocol", protocol)]), Ok(Some("abc".to_owned())));
}

#[test]
fn two_tokens_are_none() {
    let protocol = "base64url.bearer.authorization.k8s.io.YWJj";
    for pairs in [
        [("authorization", "Bearer abc"), ("authorization", "Bearer def")],
        [("authorization", "Bearer abc"), ("sec-websocket-protocol", protocol)],
        [("sec-websocket-protocol", protocol), ("sec-websocket-protocol", protocol)],
    ] {
        assert!(matches!(bearer(&headers(&pairs)), Err(AuthError::Malformed)), "{pairs:?}");
    }
    let broken = [("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.!!")];
    assert!(matches!(bearer(&headers(&broken)), Err(AuthError::Malformed)));
}

#[test]
fn only_the_upgrades_of_kubernetes_are_upgrades() {
    let requested =
        |connection, upgrade| UpgradeProtocol::requested(&headers(&[("connection", connection), ("upgrade", upgrade)]));
    assert_eq!(requested("Upgrade", "SPDY/3.1"), Some(UpgradeProtocol::Spdy));
    assert_eq!(requested("keep-alive, Upgrade", "websocket"), Some(UpgradeProtocol::WebSocket));
    assert_eq!(requested("Upgrade", "h2c"), None);
    assert_eq!(requested("keep-alive", "websocket"), None);
}

#[test]
fn impersonation_is_found_in_every_form() {
    for name in ["impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-scopes"] {
        assert!(impersonation(&headers(&[(name, "x")])).is_some(), "{name}");
    }
    assert!(impersonation(&headers(&[("x-impersonated", "x")])).is_none());
}

#[test]
fn a_response_loses_what_belonged_to_its_connection_and_keeps_the_rest() {
    let mut answer = headers(&[
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("alt-svc", "h3=\":443\""),
        ("warning", "299 - \"deprecated\""),
        ("retry-after", "1"),
        ("x-kubernetes-pf-flowschema-uid", "a"),
        ("audit-id", "b"),
    ]);
    strip_hop_by_hop(&mut answer);
    let mut names: Vec<&str> = answer.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["audit-id", "retry-after", "warning", "x-kubernetes-pf-flowschema-uid"]);
}
