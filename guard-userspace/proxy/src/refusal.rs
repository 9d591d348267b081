//! Every way in which the guard itself answers a request with *no*, and how that is told.

use guard_http1::Malformed;
use guard_identity::AuthError;
use guard_kube_request::{DescribeError, RequestInfo};
use guard_policy::Decision;
use http::StatusCode;

use crate::{
    quota::Limit,
    status::{Cause, Details, Status},
    upstream::SendError,
};

/// Why a request was not forwarded, or got no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Somebody could read it as another request.
    Malformed(Malformed),
    /// It asks to act as somebody else, by this header.
    Impersonation(String),
    /// A head that is too large, or one for which the workload has no room.
    Head(Limit),
    /// A body that is too large for this number of bytes, or too slow.
    Body(Limit, u64),
    /// More exchanges at a time than the workload may have.
    TooMany,
    /// No token that proves the pod.
    Unauthenticated(AuthError),
    /// The API server might read it as another request than the guard.
    Undescribable(DescribeError),
    /// A policy says no.
    Denied(Box<Denial>),
    /// The pod's upstream token can't be had.
    Credentials,
    /// The API server can't be asked, or broke off before it answered.
    Upstream(SendError),
    /// A path of the guard's own with nothing behind it.
    NotFound,
    /// The gate's question, and enforcement is not complete.
    Unproven(String),
}

/// A denied request, with what its message is made of.
#[derive(Debug)]
pub(crate) struct Denial {
    pub(crate) user: String,
    pub(crate) request: RequestInfo,
    pub(crate) decision: Decision,
}

impl Refusal {
    /// The answer.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Malformed(malformed) => {
                Status::failure(code(*malformed), "BadRequest", format!("egress guard: {malformed}"), None)
            }
            Self::Impersonation(header) => forbidden(format!(
                "egress guard: the header {header} asks to act as somebody else, which an agent may not; send the request without \
                 it (kubectl: without --as, --as-group, --as-uid)"
            )),
            Self::Head(Limit::HeldBytes) => {
                too_many("egress guard: this pod's requests hold too much memory; end some, or send smaller headers")
            }
            Self::Head(limit) => {
                let what =
                    if *limit == Limit::Headers { "too many header lines" } else { "headers that are too large" };
                let message = format!("egress guard: the request has {what}");
                Status::failure(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "BadRequest", message, None)
            }
            Self::Body(Limit::BodyRate, _) => {
                let message = "egress guard: the request's body did not come in time".to_owned();
                Status::failure(StatusCode::REQUEST_TIMEOUT, "Timeout", message, None)
            }
            Self::Body(_, bytes) => {
                // Word for word what the API server says.
                let message = format!("Request entity too large: limit is {bytes}");
                let details = Some(Details::default());
                Status::failure(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message, details)
            }
            Self::TooMany => too_many(
                "egress guard: this pod has too many requests under way, or has abandoned too many; end some watches, or wait",
            ),
            Self::Unauthenticated(error) => {
                let message = format!("egress guard: {error}");
                Status::failure(StatusCode::UNAUTHORIZED, "Unauthorized", message, None)
            }
            Self::Undescribable(error) => {
                let message = format!("egress guard: the request can't be judged, so it is not forwarded: {error}");
                Status::failure(StatusCode::BAD_REQUEST, "BadRequest", message, None)
            }
            Self::Denied(denial) => denial.status(),
            Self::Credentials => unavailable(
                "egress guard: this pod's credential for the API server can't be read; an event on the pod says why"
                    .to_owned(),
            ),
            Self::Upstream(error) => upstream(error),
            Self::NotFound => {
                let message = "egress guard: there is nothing at this path".to_owned();
                Status::failure(StatusCode::NOT_FOUND, "NotFound", message, None)
            }
            Self::Unproven(why) => unavailable(format!("egress guard: enforcement is not proven: {why}")),
        }
    }
}

impl Denial {
    /// In the words that RBAC uses, so that everything that reads those reads this, and then the rule.
    fn status(&self) -> Status {
        let request = &self.request;
        let causes = vec![Cause { reason: "PolicyRule", message: self.why(), field: self.rule() }];
        let details = Details {
            name: request.name.clone(),
            group: request.api_group.clone(),
            kind: request.resource.clone(),
            causes,
            ..Details::default()
        };
        let message = format!("{}: {}", self.what(), self.why());
        Status::failure(StatusCode::FORBIDDEN, "Forbidden", message, Some(details))
    }

    fn what(&self) -> String {
        let RequestInfo { verb, path, api_group, namespace, resource, subresource, name, .. } = &self.request;
        let user = &self.user;
        if !self.request.is_resource_request {
            return format!("forbidden: User {user:?} cannot {verb} path {path:?}");
        }
        let mut object = resource.clone();
        if !api_group.is_empty() {
            object = format!("{object}.{api_group}");
        }
        if !name.is_empty() {
            object = format!("{object} {name:?}");
        }
        let full = if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        format!(
            "{object} is forbidden: User {user:?} cannot {verb} resource {full:?} in API group {api_group:?} {place}"
        )
    }

    fn why(&self) -> String {
        let Decision { policy, rule, message, .. } = &self.decision;
        let mut why = "denied by egress guard".to_owned();
        if let Some(rule) = rule {
            why = format!("{why}, rule {rule:?}");
        }
        if let Some(policy) = policy {
            why = format!("{why} of GuardPolicy {policy:?}");
        }
        match message {
            Some(message) => format!("{why}: {message}"),
            None => why,
        }
    }

    fn rule(&self) -> String {
        let Decision { policy, rule, .. } = &self.decision;
        let parts: Vec<&str> = [policy.as_deref(), rule.as_deref()].into_iter().flatten().collect();
        parts.join("/")
    }
}

/// RFC 6585 (5) and RFC 9110 (15.5.15) have codes for what is too large.
fn code(malformed: Malformed) -> StatusCode {
    match malformed {
        Malformed::TooLarge | Malformed::TooMany => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Malformed::TargetTooLong => StatusCode::URI_TOO_LONG,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn forbidden(message: String) -> Status {
    Status::failure(StatusCode::FORBIDDEN, "Forbidden", message, None)
}

fn unavailable(message: String) -> Status {
    Status::failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message, None)
}

/// Only for what never reached the API server: clients repeat what has `Retry-After`.
fn too_many(message: &str) -> Status {
    let details = Details { retry_after_seconds: 1, ..Details::default() };
    Status::failure(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message.to_owned(), Some(details))
}

fn upstream(error: &SendError) -> Status {
    match error {
        SendError::Dial(error) => unavailable(format!("egress guard: the API server can't be reached: {error}")),
        SendError::NoFreeStream => too_many(
            "egress guard: this pod has too many requests to the API server under way; end some watches or wait",
        ),
        SendError::Unprocessed(_) => {
            let details = Details { retry_after_seconds: 1, ..Details::default() };
            let message = format!("egress guard: {error}");
            Status::failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message, Some(details))
        }
        SendError::Broken(_) | SendError::Switch(_) => {
            Status::failure(StatusCode::BAD_GATEWAY, "BadGateway", format!("egress guard: {error}"), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use guard_kube_request::describe;
    use guard_policy::Action;

    use super::*;

    fn denied(method: &str, path: &str) -> serde_json::Value {
        let decision = Decision {
            action: Action::Deny,
            policy: Some("base".into()),
            rule: Some("no-deletes".into()),
            message: Some("ask a human".into()),
        };
        let user = "system:serviceaccount:agents:bot".to_owned();
        let request = describe(method, path).unwrap();
        let denial = Denial { user, request, decision };
        serde_json::to_value(Refusal::Denied(Box::new(denial)).status()).unwrap()
    }

    #[test]
    fn a_deny_reads_like_rbac_and_names_the_rule() {
        let status = denied("DELETE", "/api/v1/namespaces/prod");
        assert_eq!(
            status["message"],
            "namespaces \"prod\" is forbidden: User \"system:serviceaccount:agents:bot\" cannot delete resource \"namespaces\" \
             in API group \"\" in the namespace \"prod\": denied by egress guard, rule \"no-deletes\" of GuardPolicy \"base\": \
             ask a human"
        );
        assert_eq!((&status["reason"], &status["code"]), (&"Forbidden".into(), &403.into()));
        assert_eq!(status["details"]["causes"][0]["field"], "base/no-deletes");
        assert_eq!(status["details"]["kind"], "namespaces");
    }

    #[test]
    fn a_deny_of_a_subresource_a_collection_and_a_path_each_say_what_was_asked() {
        let message = |method, path| denied(method, path)["message"].as_str().unwrap().to_owned();
        let exec = message("POST", "/api/v1/namespaces/a/pods/p/exec?command=sh");
        assert!(exec.starts_with("pods \"p\" is forbidden: User"), "{exec}");
        assert!(
            exec.contains("cannot create resource \"pods/exec\" in API group \"\" in the namespace \"a\""),
            "{exec}"
        );
        let list = message("GET", "/apis/apps/v1/deployments");
        assert!(list.starts_with("deployments.apps is forbidden"), "{list}");
        assert!(list.contains("in API group \"apps\" at the cluster scope"), "{list}");
        let path = message("GET", "/metrics");
        assert!(path.starts_with("forbidden: User"), "{path}");
        assert!(path.contains("cannot get path \"/metrics\""), "{path}");
    }

    #[test]
    fn only_what_never_reached_the_api_server_may_be_repeated() {
        let retry = |refusal: Refusal| refusal.status().into_response().headers().contains_key("retry-after");
        assert!(retry(Refusal::TooMany));
        assert!(retry(Refusal::Upstream(SendError::NoFreeStream)));
        assert!(!retry(Refusal::Upstream(SendError::Broken("reset".into()))));
    }
}
