//! One compiled rule: does it deny this request?
//!
//! A rule that denies matches whatever *may* be what it names: a list that could hold the object, a create whose name is in the body.

use guard_kube_request::RequestInfo;

use crate::pattern::{Glob, ResourcePattern};

/// A rule. Each `None` is a field that the policy does not have, and matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) verbs: Option<Vec<String>>,
    pub(crate) resources: Option<Vec<ResourcePattern>>,
    pub(crate) namespaces: Option<Vec<Glob>>,
    pub(crate) names: Option<Vec<Glob>>,
    pub(crate) message: Option<String>,
}

impl Rule {
    pub(crate) fn matches(&self, request: &RequestInfo) -> bool {
        self.matches_verb(request)
            && self.matches_resource(request)
            && self.matches_namespace(request)
            && self.matches_name(request)
    }

    /// A method that has no verb could be any: it is for the API server to refuse, not for us to pass.
    fn matches_verb(&self, request: &RequestInfo) -> bool {
        self.verbs.as_ref().is_none_or(|verbs| {
            request.verb.is_empty() || verbs.iter().any(|verb| verb == "*" || *verb == request.verb)
        })
    }

    /// A rule that names resources, namespaces or objects is not for paths that are none.
    fn matches_resource(&self, request: &RequestInfo) -> bool {
        if !request.is_resource_request {
            return self.resources.is_none() && self.namespaces.is_none() && self.names.is_none();
        }
        self.resources.as_ref().is_none_or(|resources| resources.iter().any(|resource| resource.matches(request)))
    }

    fn matches_namespace(&self, request: &RequestInfo) -> bool {
        self.namespaces.as_ref().is_none_or(|namespaces| {
            if request.namespace.is_empty() {
                may_be_in_any_namespace(request)
            } else {
                any(namespaces, &request.namespace)
            }
        })
    }

    fn matches_name(&self, request: &RequestInfo) -> bool {
        self.names.as_ref().is_none_or(|names| request.name.is_empty() || any(names, &request.name))
    }
}

/// Across all namespaces, by a collection, or by an object that says its namespace in its body. A cluster-scoped object that is
/// named is in none.
fn may_be_in_any_namespace(request: &RequestInfo) -> bool {
    request.name.is_empty() || matches!(request.verb.as_str(), "list" | "watch" | "deletecollection" | "")
}

fn any(globs: &[Glob], text: &str) -> bool {
    globs.iter().any(|glob| glob.matches(text))
}
