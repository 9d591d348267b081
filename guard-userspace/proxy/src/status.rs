//! Kubernetes' `Status`: how every refusal is told, so that clients print it as they print the API server's own.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::body::ResponseBody;

/// `meta/v1.Status` of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata,
    #[serde(rename = "status")]
    outcome: &'static str,
    message: String,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    code: u16,
}

/// `meta/v1.ListMeta`, empty, as the API server sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Metadata {}

/// `meta/v1.StatusDetails`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) group: String,
    /// The resource, as the API server puts it there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) retry_after_seconds: u32,
}

/// `meta/v1.StatusCause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// What `message` is about: here the rule, as `policy/rule`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) field: String,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}

impl Status {
    pub(crate) fn failure(code: StatusCode, reason: &'static str, message: String, details: Option<Details>) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: Metadata {},
            outcome: "Failure",
            message,
            reason,
            // The API server leaves out what is empty.
            details: details.filter(|details| *details != Details::default()),
            code: code.as_u16(),
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers only: it can't fail, and an empty body with the right code would still refuse.
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        // As the API server ends its own.
        text.push(b'\n');
        text
    }

    /// The response that carries it. Always JSON: clients decode by `Content-Type`, also those that asked for protobuf.
    pub(crate) fn into_response(self) -> Response<ResponseBody> {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let mut response = Response::new(ResponseBody::local(Bytes::from(self.to_json())));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        if retry_after > 0 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_shape_that_the_api_server_sends() {
        let details = Details { name: "prod".into(), kind: "namespaces".into(), ..Details::default() };
        let status = Status::failure(StatusCode::FORBIDDEN, "Forbidden", "no".into(), Some(details));
        let expected = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no",
            "reason": "Forbidden", "details": {"name": "prod", "kind": "namespaces"}, "code": 403
        });
        assert_eq!(serde_json::to_value(&status).unwrap(), expected);
    }

    #[test]
    fn a_wait_is_told_in_the_header_too() {
        let details = Details { retry_after_seconds: 1, ..Details::default() };
        let code = StatusCode::TOO_MANY_REQUESTS;
        let response = Status::failure(code, "TooManyRequests", "wait".into(), Some(details)).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
