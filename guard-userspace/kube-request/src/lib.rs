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

/// RFC 9110, 9.1: a method is a token, and case-sensitive. `CONNECT` asks for a tunnel, not for anything at a path.
fn check_method(method: &str) -> Result<(), DescribeError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if method.is_empty() || !method.bytes().all(token) || method == "CONNECT" {
        return Err(DescribeError::Method);
    }
    Ok(())
}
