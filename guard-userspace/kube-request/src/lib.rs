//! What a request asks of the API server: verb, group, resource, namespace, name.
//!
//! [`describe`] gives the answers of Kubernetes' own `RequestInfoFactory` (`k8s.io/apiserver/pkg/endpoints/request`, 1.37), by
//! which the API server authorizes, finds the object and audits. What another reader of the same bytes could take for another
//! request (dot segments, semicolons, broken escapes) is an error instead of an answer.

#![forbid(unsafe_code)]

mod error;
mod list_options;
mod request_info;
mod resource;
mod url;

pub use error::DescribeError;
pub use request_info::RequestInfo;

/// Longest path and query that is read, in bytes. HTTP libraries give up at the same length.
pub const MAX_TARGET_LEN: usize = 64 * 1024;

/// Describes the request with this method and this path and query, both as they go over the wire to the API server.
pub fn describe(method: &str, path_and_query: &str) -> Result<RequestInfo, DescribeError> {
    check_method(method)?;
    let target = url::Target::parse(path_and_query)?;
    resource::request_info(method, &target)
}

/// The ports that a port-forward over WebSocket channels names, in the order of their channels (`ports` of the query, as
/// `k8s.io/cri-streaming/pkg/streaming/portforward` reads it). Empty if one of them is none: the server refuses those.
pub fn forwarded_ports(path_and_query: &str) -> Vec<u16> {
    let port = |text: &str| {
        // `+80` is a number for Rust, and none for Go.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|port: &u16| digits && *port > 0)
    };
    let Ok(target) = url::Target::parse(path_and_query) else { return Vec::new() };
    let values: Result<Vec<&str>, _> = target.values("ports").collect();
    let ports =
        values.ok().and_then(|values| values.into_iter().flat_map(|value| value.split(',')).map(port).collect());
    ports.unwrap_or_default()
}

/// RFC 9110, 9.1: a method is a token, and case-sensitive. `CONNECT` asks for a tunnel, not for anything at a path.
fn check_method(method: &str) -> Result<(), DescribeError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if method.is_empty() || !method.bytes().all(token) || method == "CONNECT" {
        return Err(DescribeError::Method);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_one_by_one_or_in_lists() {
        let ports = |query: &str| forwarded_ports(&format!("/api/v1/namespaces/a/pods/p/portforward{query}"));
        assert_eq!(ports("?ports=80&ports=443,8080"), [80, 443, 8080]);
        assert_eq!(ports("?ports=80%2C443"), [80, 443]);
        for none in ["", "?ports=", "?ports=0", "?ports=+80", "?ports=%2B80", "?ports=80&ports=65536", "?ports=80,"] {
            assert!(ports(none).is_empty(), "{none}");
        }
    }
}
