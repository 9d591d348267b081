//! Requests and what Kubernetes 1.37 takes them for, the odd ones named.

use guard_kube_request::{DescribeError, RequestInfo, describe};
use proptest::prelude::*;

fn described(method: &str, target: &str) -> RequestInfo {
    describe(method, target).unwrap_or_else(|error| panic!("{method} {target}: {error}"))
}

/// verb, group, version, namespace, resource, subresource, name
type Expected<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, &'a str);

fn assert_resource(method: &str, target: &str, expected: Expected<'_>) {
    let info = described(method, target);
    assert!(info.is_resource_request, "{method} {target} is no resource request");
    let found = (
        info.verb.as_str(),
        info.api_group.as_str(),
        info.api_version.as_str(),
        info.namespace.as_str(),
        info.resource.as_str(),
        info.subresource.as_str(),
        info.name.as_str(),
    );
    assert_eq!(found, expected, "{method} {target}");
}

#[test]
fn ordinary_requests_have_their_verb_and_resource() {
    let cases: &[(&str, &str, Expected<'_>)] = &[
        ("GET", "/api/v1/pods", ("list", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/namespaces/a/pods", ("list", "", "v1", "a", "pods", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/x", ("get", "", "v1", "a", "pods", "", "x")),
        ("POST", "/api/v1/namespaces/a/pods", ("create", "", "v1", "a", "pods", "", "")),
        ("PUT", "/api/v1/namespaces/a/pods/x", ("update", "", "v1", "a", "pods", "", "x")),
        ("PATCH", "/api/v1/namespaces/a/pods/x", ("patch", "", "v1", "a", "pods", "", "x")),
        ("DELETE", "/api/v1/namespaces/a/pods/x", ("delete", "", "v1", "a", "pods", "", "x")),
        ("GET", "/api/v1/namespaces/a/pods/x/log", ("get", "", "v1", "a", "pods", "log", "x")),
        ("POST", "/api/v1/namespaces/a/pods/x/exec?command=id", ("create", "", "v1", "a", "pods", "exec", "x")),
        (
            "PUT",
            "/apis/apps/v1/namespaces/a/deployments/x/scale",
            ("update", "apps", "v1", "a", "deployments", "scale", "x"),
        ),
        (
            "GET",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/x",
            ("get", "rbac.authorization.k8s.io", "v1", "", "clusterroles", "", "x"),
        ),
        ("GET", "/api/v1/nodes/n/proxy/metrics/cadvisor", ("get", "", "v1", "", "nodes", "proxy", "n")),
    ];
    for (method, target, expected) in cases {
        assert_resource(method, target, *expected);
    }
}

#[test]
fn a_namespace_is_in_itself() {
    assert_resource("GET", "/api/v1/namespaces", ("list", "", "v1", "", "namespaces", "", ""));
    assert_resource("DELETE", "/api/v1/namespaces/x", ("delete", "", "v1", "x", "namespaces", "", "x"));
    assert_resource("PUT", "/api/v1/namespaces/x/finalize", ("update", "", "v1", "x", "namespaces", "finalize", "x"));
    assert_resource("PATCH", "/api/v1/namespaces/x/status", ("patch", "", "v1", "x", "namespaces", "status", "x"));
    assert_resource("GET", "/api/v1/namespaces/x/scale", ("list", "", "v1", "x", "scale", "", ""));
}

#[test]
fn secrets_of_another_group_are_another_resource() {
    assert_eq!(described("GET", "/api/v1/namespaces/a/secrets/x").qualified_resource(), "secrets");
    assert_eq!(
        described("GET", "/apis/example.com/v1/namespaces/a/secrets/x").qualified_resource(),
        "secrets.example.com"
    );
    assert_eq!(
        described("GET", "/apis/apps/v1/namespaces/a/deployments/x/scale").qualified_resource(),
        "deployments.apps/scale"
    );
}

#[test]
fn what_is_no_resource_keeps_its_path_and_method() {
    for target in [
        "/",
        "/version",
        "/healthz",
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/apis",
        "/apis/apps",
        "/apis/apps/v1",
        "/openapi/v3",
        "//",
        "/metrics",
        "/API/v1/pods",
        "/apiv1/x/y",
        "/egressguard.io/v1/gate",
    ] {
        let info = described("POST", target);
        assert!(!info.is_resource_request, "{target}");
        assert_eq!((info.verb.as_str(), info.path.as_str()), ("post", target));
        assert_eq!((info.resource.as_str(), info.name.as_str(), info.parts.len()), ("", "", 0), "{target}");
    }
}

#[test]
fn a_group_version_says_its_prefix_alone() {
    let info = described("GET", "/apis/apps/v1");
    assert_eq!((info.api_prefix.as_str(), info.api_group.as_str(), info.api_version.as_str()), ("apis", "", ""));
}

#[test]
fn nameless_delete_is_deletecollection_whatever_its_query() {
    for query in ["", "?fieldSelector=metadata.name%3Dx", "?watch=1", "?labelSelector=a"] {
        let target = format!("/api/v1/namespaces/a/pods{query}");
        assert_resource("DELETE", &target, ("deletecollection", "", "v1", "a", "pods", "", ""));
    }
}

#[test]
fn watch_is_true_unless_it_is_zero_or_false() {
    for value in ["1", "true", "TRUE", "t", "yes", "", "junk", "00", "%66alsey", "false%20"] {
        assert_resource("GET", &format!("/api/v1/pods?watch={value}"), ("watch", "", "v1", "", "pods", "", ""));
    }
    for value in ["0", "false", "False", "FALSE", "f%61lse", "fal%C5%BFe"] {
        assert_resource("GET", &format!("/api/v1/pods?watch={value}"), ("list", "", "v1", "", "pods", "", ""));
    }
    assert_resource("GET", "/api/v1/pods?watch", ("watch", "", "v1", "", "pods", "", ""));
    assert_resource("GET", "/api/v1/pods?Watch=1", ("list", "", "v1", "", "pods", "", ""));
    assert_resource("GET", "/api/v1/pods?%77atch=1", ("watch", "", "v1", "", "pods", "", ""));
    assert_resource("GET", "/api/v1/pods/x?watch=1", ("get", "", "v1", "", "pods", "", "x"));
}

#[test]
fn of_a_repeated_parameter_the_first_counts() {
    assert_resource("GET", "/api/v1/pods?watch=0&watch=1", ("list", "", "v1", "", "pods", "", ""));
    assert_resource("GET", "/api/v1/pods?watch=1&watch=0", ("watch", "", "v1", "", "pods", "", ""));
    let info = described("GET", "/api/v1/pods?labelSelector=a&labelSelector=b");
    assert_eq!(info.label_selector, "a");
}

#[test]
fn a_watch_in_the_path_is_a_watch_whatever_the_method() {
    for method in ["GET", "DELETE", "POST", "OPTIONS"] {
        assert_resource(method, "/api/v1/watch/namespaces/a/pods", ("watch", "", "v1", "a", "pods", "", ""));
        assert_resource(method, "/api/v1/watch/namespaces/a/pods/x", ("watch", "", "v1", "a", "pods", "", "x"));
        assert_resource(method, "/apis/apps/v1/watch/deployments", ("watch", "apps", "v1", "", "deployments", "", ""));
    }
    let info = described("GET", "/api/v1/watch/pods?fieldSelector=metadata.name%3Dx&labelSelector=a");
    assert_eq!((info.name.as_str(), info.field_selector.as_str(), info.label_selector.as_str()), ("", "", ""));
}

#[test]
fn the_old_proxy_verb_has_no_subresource() {
    assert_resource("GET", "/api/v1/proxy/namespaces/a/pods/x/metrics", ("proxy", "", "v1", "a", "pods", "", "x"));
    assert_resource("GET", "/api/v1/proxy/nodes/x/metrics", ("proxy", "", "v1", "", "nodes", "", "x"));
    for target in ["/api/v1/watch", "/api/v1/proxy", "/apis/apps/v1/watch/", "/api/v1/proxy//"] {
        assert_eq!(describe("GET", target), Err(DescribeError::NoResource), "{target}");
    }
}

#[test]
fn head_reads_like_get() {
    assert_resource("HEAD", "/api/v1/pods", ("list", "", "v1", "", "pods", "", ""));
    assert_resource("HEAD", "/api/v1/pods?watch=1", ("watch", "", "v1", "", "pods", "", ""));
    assert_resource("HEAD", "/api/v1/namespaces/a/pods/x", ("get", "", "v1", "a", "pods", "", "x"));
}

#[test]
fn methods_without_a_verb_have_an_empty_one() {
    for method in ["OPTIONS", "TRACE", "get", "Delete", "PROPFIND", "PRI"] {
        assert_resource(method, "/api/v1/namespaces/a/pods/x", ("", "", "v1", "a", "pods", "", "x"));
    }
}

#[test]
fn a_field_selector_names_the_object_of_a_list_and_a_watch() {
    for (query, verb, name) in [
        ("fieldSelector=metadata.name%3Dx", "list", "x"),
        ("fieldSelector=metadata.name=x", "list", "x"),
        ("fieldSelector=metadata.name%3D%3Dx&watch=1", "watch", "x"),
        ("fieldSelector=spec.nodeName%3Dn,metadata.name%3Dx", "list", "x"),
        ("fieldSelector=metadata.name%3Dx+y", "list", "x y"),
        ("fieldSelector=metadata.name!%3Dx", "list", ""),
        ("fieldSelector=metadata.name%3D", "list", ""),
        ("fieldSelector=metadata.name%3D..", "list", ""),
        ("fieldSelector=metadata.name%3Da%2Fb", "list", ""),
        ("fieldSelector=metadata.name%3Da%2525b", "list", ""),
        ("fieldSelector=metadata.name%3Da&fieldSelector=metadata.name%3Db", "list", "a"),
        ("FieldSelector=metadata.name%3Dx", "list", ""),
    ] {
        assert_resource("GET", &format!("/api/v1/pods?{query}"), (verb, "", "v1", "", "pods", "", name));
    }
}

#[test]
fn one_undecodable_option_spoils_the_name_and_not_the_watch() {
    for bad in [
        "limit=x",
        "limit=",
        "timeoutSeconds=1.5",
        "limit=9223372036854775808",
        "labelSelector=a%3D%3D%3Db",
        "labelSelector=,",
    ] {
        let target = format!("/api/v1/pods?fieldSelector=metadata.name%3Dx&{bad}&watch=1");
        assert_resource("GET", &target, ("watch", "", "v1", "", "pods", "", ""));
        assert_eq!(described("GET", &target).field_selector, "metadata.name=x", "the selector is told as it was sent");
    }
    assert_resource(
        "GET",
        "/api/v1/pods?fieldSelector=metadata.name&watch=True",
        ("watch", "", "v1", "", "pods", "", ""),
    );
    assert_resource("GET", "/api/v1/pods?fieldSelector=%3D%3D%3D&watch=FALSE", ("list", "", "v1", "", "pods", "", ""));
    // Decodable, the long s folds to s; undecodable, nothing folds.
    assert_resource("GET", "/api/v1/pods?watch=fal%C5%BFe&limit=x", ("watch", "", "v1", "", "pods", "", ""));
    assert_resource(
        "GET",
        "/api/v1/pods?fieldSelector=metadata.name%3Dx&limit=-1",
        ("list", "", "v1", "", "pods", "", "x"),
    );
}

#[test]
fn an_encoded_slash_separates_like_any_other() {
    assert_resource("GET", "/api/v1/namespaces%2Fa%2Fpods/x", ("get", "", "v1", "a", "pods", "", "x"));
    assert_resource("DELETE", "/api/v1/namespaces/a/pods%2fx", ("delete", "", "v1", "a", "pods", "", "x"));
    assert_resource("DELETE", "/api/v1/namespaces/a/pods/x%2Flog", ("delete", "", "v1", "a", "pods", "log", "x"));
}

#[test]
fn decoding_happens_once() {
    assert_resource("DELETE", "/api/v1/namespaces/a/pods/x%252Flog", ("delete", "", "v1", "a", "pods", "", "x%2Flog"));
    assert_resource(
        "GET",
        "/api/v1/namespaces/%6bube-system/%73ecrets",
        ("list", "", "v1", "kube-system", "secrets", "", ""),
    );
    assert_resource("GET", "/api/v1/pods%3Fwatch=1", ("list", "", "v1", "", "pods?watch=1", "", ""));
}

#[test]
fn upper_case_is_another_resource() {
    assert_resource("DELETE", "/api/v1/Namespaces/x", ("delete", "", "v1", "", "Namespaces", "", "x"));
    assert_resource("GET", "/api/V1/namespaces/x", ("get", "", "V1", "x", "namespaces", "", "x"));
}

#[test]
fn slashes_at_the_ends_are_nothing_and_inside_they_are_empty_segments() {
    assert_resource("DELETE", "//api/v1/namespaces/x///", ("delete", "", "v1", "x", "namespaces", "", "x"));
    assert_resource("DELETE", "/api/v1/namespaces/", ("deletecollection", "", "v1", "", "namespaces", "", ""));
    assert_resource("DELETE", "/api/v1/namespaces/x%2F", ("delete", "", "v1", "x", "namespaces", "", "x"));
    assert_resource("DELETE", "/api/v1//namespaces/x", ("delete", "", "v1", "", "", "x", "namespaces"));
    assert_resource("GET", "/api/v1/namespaces//pods", ("list", "", "v1", "", "pods", "", ""));
    assert_resource("GET", "/api//v1/pods", ("get", "", "", "", "v1", "", "pods"));
}

#[test]
fn a_plus_is_a_space_in_the_query_and_a_plus_in_the_path() {
    assert_resource("GET", "/api/v1/namespaces/a/pods/x+y", ("get", "", "v1", "a", "pods", "", "x+y"));
    assert_eq!(described("GET", "/api/v1/pods?labelSelector=a+in+(b)").label_selector, "a in (b)");
}

#[test]
fn text_beyond_ascii_is_taken_as_it_is() {
    for target in ["/api/v1/namespaces/a/pods/ü", "/api/v1/namespaces/a/pods/%C3%BC"] {
        assert_resource("GET", target, ("get", "", "v1", "a", "pods", "", "ü"));
    }
}

#[test]
fn selectors_are_told_for_collections_alone() {
    let query = "?fieldSelector=a%3Db&labelSelector=c";
    for (method, verb, told) in [("GET", "list", true), ("DELETE", "deletecollection", true), ("POST", "create", false)]
    {
        let info = described(method, &format!("/api/v1/namespaces/a/pods{query}"));
        assert_eq!(info.verb, verb);
        let expected = if told { ("a=b", "c") } else { ("", "") };
        assert_eq!((info.field_selector.as_str(), info.label_selector.as_str()), expected, "{verb}");
    }
    let info = described("GET", &format!("/api/v1/namespaces/a/pods/x{query}"));
    assert_eq!((info.field_selector.as_str(), info.label_selector.as_str()), ("", ""));
}

#[test]
fn parts_begin_at_the_resource() {
    assert_eq!(described("GET", "/api/v1/namespaces/a/pods/x/proxy/y/z").parts, ["pods", "x", "proxy", "y", "z"]);
    assert_eq!(described("GET", "/api/v1/namespaces/a").parts, ["namespaces", "a"]);
    assert_eq!(described("GET", "/api/v1/watch/namespaces/a/pods").parts, ["pods"]);
}

#[test]
fn what_two_readers_could_take_for_two_requests_is_refused() {
    use DescribeError::{DotSegment, ForbiddenCharacter, NotOriginForm, NotText, PercentEncoding, Semicolon};
    for (target, error) in [
        ("/api/v1/namespaces/a/../b/pods", DotSegment),
        ("/api/v1/./pods", DotSegment),
        ("/api/v1/namespaces/a/%2e%2E/b/pods", DotSegment),
        ("/api/v1/namespaces/a/pods/x/proxy/..%2fy", DotSegment),
        ("/api/v1/pods?watch=0;watch=1", Semicolon),
        ("/api/v1/pods?a;watch=1", Semicolon),
        ("/api/v1/pods?watch=%zz", PercentEncoding),
        ("/api/v1/pods?a=%1", PercentEncoding),
        ("/api/v1/pods?%=1", PercentEncoding),
        ("/api/v1/pods/%", PercentEncoding),
        ("/api/v1/pods/%2", PercentEncoding),
        ("/api/v1/pods/%u002f", PercentEncoding),
        ("/api/v1/pods/%ff", NotText),
        ("/api/v1/pods/%c0%af", NotText),
        ("/api/v1/pods/x%00y", NotText),
        ("/api/v1/pods?labelSelector=a%00", NotText),
        ("/api/v1/pods?fieldSelector=metadata.name%3D%ff", NotText),
        ("/api/v1/pods#fragment", ForbiddenCharacter),
        ("/api/v1/pods HTTP/1.1", ForbiddenCharacter),
        ("/api/v1/pods\r\nx: y", ForbiddenCharacter),
        ("/api/v1/pods\t", ForbiddenCharacter),
        ("/api/v1/pods\u{7f}", ForbiddenCharacter),
        ("https://10.96.0.1/api/v1/pods", NotOriginForm),
        ("*", NotOriginForm),
        ("", NotOriginForm),
        ("api/v1/pods", NotOriginForm),
        ("?watch=1", NotOriginForm),
    ] {
        assert_eq!(describe("GET", target), Err(error), "{target:?}");
    }
}

#[test]
fn an_escaped_semicolon_is_an_ordinary_character() {
    assert_resource("GET", "/api/v1/pods?x=a%3Bb&watch=1", ("watch", "", "v1", "", "pods", "", ""));
    assert_resource("GET", "/api/v1/namespaces/a/pods/x;y", ("get", "", "v1", "a", "pods", "", "x;y"));
}

#[test]
fn what_is_no_method_is_refused() {
    for method in ["", "G T", "GET\r\n", "GÉT", "GET/", "CONNECT"] {
        assert_eq!(describe(method, "/api/v1/pods"), Err(DescribeError::Method), "{method:?}");
    }
}

#[test]
fn length_and_number_of_parameters_are_bounded() {
    let long = format!("/{}", "a".repeat(guard_kube_request::MAX_TARGET_LEN));
    assert_eq!(describe("GET", &long), Err(DescribeError::TooLong));
    let many = format!("/api/v1/pods?{}watch=1", "a&".repeat(1_000));
    assert_eq!(describe("GET", &many), Err(DescribeError::TooManyParameters));
}

proptest! {
    #[test]
    fn no_input_makes_it_panic(method in ".{0,8}", target in ".{0,200}") {
        let _ = describe(&method, &target);
        let _ = describe("GET", &format!("/{target}"));
    }

    #[test]
    fn no_request_that_looks_like_one_makes_it_panic(
        target in "/(api|apis/[a-z.]{0,5})?(/(v1|namespaces|watch|proxy|pods|[a-z%2Ff.]{0,4})){0,7}(\\?([a-zA-Z=%,;&+!()]|watch=|limit=|fieldSelector=|labelSelector=|metadata\\.name){0,12})?",
    ) {
        if let Ok(info) = describe("GET", &target) {
            prop_assert!(!info.path.split('/').any(|segment| segment == ".."));
            prop_assert_eq!(info.is_resource_request, !info.parts.is_empty());
            prop_assert!(!info.is_collection() || info.name.is_empty());
        }
    }
}
