//! From the segments of a path to a resource, in the order in which Kubernetes decides it.

use crate::error::DescribeError;
use crate::list_options::ListOptions;
use crate::request_info::RequestInfo;
use crate::url::Target;

/// Subresources of a namespace. Any other third segment after `namespaces` is a resource in that namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

pub(crate) fn request_info(method: &str, target: &Target) -> Result<RequestInfo, DescribeError> {
    let mut info =
        RequestInfo { path: target.path.clone(), verb: method.to_ascii_lowercase(), ..RequestInfo::default() };
    let segments = segments(&target.path);
    let Some(rest) = api_version(&mut info, &segments) else {
        return Ok(info);
    };
    info.is_resource_request = true;

    let (verb_in_path, rest) = match rest {
        [verb @ ("watch" | "proxy"), rest @ ..] => (Some(*verb), rest),
        _ => (None, rest),
    };
    if rest.is_empty() {
        return Err(DescribeError::NoResource);
    }
    verb_in_path.unwrap_or_else(|| verb_of(method)).clone_into(&mut info.verb);
    object(&mut info, rest);
    collection_verb(&mut info, target)?;
    if verb_in_path.is_none() {
        selectors(&mut info, target)?;
    }
    Ok(info)
}

/// The path without slashes at its ends, cut at each slash: `//` makes an empty segment.
fn segments(path: &str) -> Vec<&str> {
    match path.trim_matches('/') {
        "" => Vec::new(),
        path => path.split('/').collect(),
    }
}

/// Takes prefix, group and version; `None` for what is no resource. Kubernetes fills in the prefix even of some of those.
fn api_version<'a>(info: &mut RequestInfo, segments: &'a [&'a str]) -> Option<&'a [&'a str]> {
    match segments {
        ["api", version, rest @ ..] if !rest.is_empty() => {
            "api".clone_into(&mut info.api_prefix);
            (*version).clone_into(&mut info.api_version);
            Some(rest)
        }
        ["apis", group, version, rest @ ..] => {
            "apis".clone_into(&mut info.api_prefix);
            if rest.is_empty() {
                return None;
            }
            (*group).clone_into(&mut info.api_group);
            (*version).clone_into(&mut info.api_version);
            Some(rest)
        }
        _ => None,
    }
}

/// Methods are case-sensitive: `get` is no method that Kubernetes has a verb for.
fn verb_of(method: &str) -> &'static str {
    match method {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// Namespace, resource, name and subresource.
fn object(info: &mut RequestInfo, segments: &[&str]) {
    let parts = match segments {
        ["namespaces", namespace, rest @ ..] => {
            (*namespace).clone_into(&mut info.namespace);
            match rest {
                [first, ..] if !NAMESPACE_SUBRESOURCES.contains(first) => rest,
                _ => segments,
            }
        }
        _ => segments,
    };
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    part(0).clone_into(&mut info.resource);
    part(1).clone_into(&mut info.name);
    if info.verb != "proxy" {
        part(2).clone_into(&mut info.subresource);
    }
    info.parts = parts.iter().map(|&part| part.to_owned()).collect();
}

/// Without a name, `get` is `list` or `watch`, and `delete` is `deletecollection`. A selected name comes too late to matter for the
/// verb.
fn collection_verb(info: &mut RequestInfo, target: &Target) -> Result<(), DescribeError> {
    if !info.name.is_empty() {
        return Ok(());
    }
    match info.verb.as_str() {
        "get" => {
            let options = ListOptions::of(target)?;
            (if options.watch { "watch" } else { "list" }).clone_into(&mut info.verb);
            info.name = options.name;
        }
        "delete" => "deletecollection".clone_into(&mut info.verb),
        _ => {}
    }
    Ok(())
}

fn selectors(info: &mut RequestInfo, target: &Target) -> Result<(), DescribeError> {
    if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
        target.parameter("fieldSelector")?.unwrap_or_default().clone_into(&mut info.field_selector);
        target.parameter("labelSelector")?.unwrap_or_default().clone_into(&mut info.label_selector);
    }
    Ok(())
}
