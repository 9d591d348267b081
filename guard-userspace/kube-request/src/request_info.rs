//! The description.

/// Kubernetes' `RequestInfo`, field by field. An empty string means that the request does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RequestInfo {
    /// Whether an API resource is asked for, and not a path such as `/version` or `/openapi/v3`.
    pub is_resource_request: bool,
    /// The path, percent-decoded.
    pub path: String,
    /// Of a resource: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`, or empty for a
    /// method that Kubernetes has no verb for. Otherwise the HTTP method in lower case.
    pub verb: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    /// Empty for the core group.
    pub api_group: String,
    /// `v1`, for instance.
    pub api_version: String,
    /// Empty for cluster-scoped resources and for requests across all namespaces. The namespace itself for
    /// `/api/v1/namespaces/x`, whose resource is `namespaces` and whose name is `x`.
    pub namespace: String,
    /// Plural and lower case as in the path: `pods`.
    pub resource: String,
    /// `log` in `/pods/x/log`.
    pub subresource: String,
    /// Name of the object: from the path, or from `fieldSelector=metadata.name=x` of a list or watch.
    pub name: String,
    /// The path from the resource on: resource, name, subresource, and what the subresource makes of the rest.
    pub parts: Vec<String>,
    /// `fieldSelector` as sent, for `list`, `watch` and `deletecollection`.
    pub field_selector: String,
    /// `labelSelector` as sent, for `list`, `watch` and `deletecollection`.
    pub label_selector: String,
}

impl RequestInfo {
    /// Whether the request is about every object that some collection holds, rather than about one that it names.
    pub fn is_collection(&self) -> bool {
        self.name.is_empty() && matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
    }

    /// The resource as RBAC and policies write it: `pods`, `deployments.apps`, `pods/exec`, `deployments.apps/scale`.
    pub fn qualified_resource(&self) -> String {
        let mut qualified = self.resource.clone();
        for (separator, part) in [('.', &self.api_group), ('/', &self.subresource)] {
            if !part.is_empty() {
                qualified.push(separator);
                qualified.push_str(part);
            }
        }
        qualified
    }
}
