//! What must hold for a description, whatever was asked for.

use guard_kube_request::describe;

/// `input` is a method, a space, and a target.
pub(crate) fn check(input: &[u8]) {
    let Some((method, target)) = std::str::from_utf8(input).ok().and_then(|text| text.split_once(' ')) else { return };
    let Ok(info) = describe(method, target) else { return };
    assert!(target.starts_with('/') && info.path.starts_with('/'), "{info:?}");
    assert!(!info.path.split('/').any(|segment| matches!(segment, "." | "..")), "{info:?}");
    assert!(!info.path.contains('\0'), "{info:?}");
    assert_eq!(info.is_resource_request, !info.parts.is_empty(), "{info:?}");
    if !info.is_resource_request {
        assert_eq!(info.verb, method.to_lowercase());
        return;
    }
    assert_eq!(info.resource, info.parts[0], "{info:?}");
    assert!(!info.is_collection() || info.name.is_empty(), "{info:?}");
    // A collection or a read-only method is never taken for a change of one object, nor the other way round.
    let reads = matches!(method, "GET" | "HEAD");
    let read = matches!(info.verb.as_str(), "get" | "list" | "watch" | "proxy");
    assert!(!reads || read, "{info:?}");
}
