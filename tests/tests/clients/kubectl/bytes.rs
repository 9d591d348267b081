//! What curl gets, to the byte: status, headers and body, in every encoding, over both versions of HTTP.

use guard_e2e::harness::{Kubectl, Pod};
use serde_json::{Value, json};

use super::PAIR;
use super::library::{LIBRARY, shelved};
use super::row::TRIES;
use crate::WORLD;

/// curl uses one connection for its whole list, in which only the token is missing. `tail` puts a file's name above its text.
const FETCH: &str = r#"
set -e; shopt -s nullglob
rm -rf /tmp/bytes.$VERSION; mkdir /tmp/bytes.$VERSION; cd /tmp/bytes.$VERSION
sed "s|TOKEN|$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)|" > list
curl -sS -K list
tail -v -n +1 head.*
echo '==> bodies <=='
sha256sum body.*
wc -c body.*
"#;
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const CBOR: &str = "application/cbor";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const METADATA_LIST: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// One transfer.
#[derive(Clone)]
struct Transfer {
    method: &'static str,
    path: String,
    accept: &'static str,
    encoding: &'static str,
}

fn transfers(version: u64, watched: u64) -> Vec<Transfer> {
    let exact = format!("resourceVersion={version}&resourceVersionMatch=Exact");
    let of_library = |rest: &str| format!("/api/v1/namespaces/{LIBRARY}/{rest}");
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let books = format!("/apis/library.example.com/v1/namespaces/{LIBRARY}/books");
    let watch = format!("{WATCHED_PATH}?watch=1&resourceVersion={watched}&timeoutSeconds=1");
    let rows: Vec<(Vec<&str>, String)> = vec![
        (vec![JSON, YAML, PROTOBUF, CBOR, "text/html", "*/*", "", DISCOVERY], "/api".into()),
        (vec![JSON, DISCOVERY], "/apis".into()),
        (vec![JSON, PROTOBUF, YAML], "/apis/apps/v1".into()),
        (vec![JSON, YAML, "*/*"], "/version".into()),
        (vec!["*/*"], "/readyz".into()),
        (vec!["*/*"], "/healthz/none".into()),
        (vec![JSON], "/openapi/v3".into()),
        (vec![JSON, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"], "/openapi/v3/apis/apps/v1".into()),
        (vec![JSON, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"], "/openapi/v2".into()),
        (vec!["*/*"], "/.well-known/openid-configuration".into()),
        (vec!["*/*"], "/".into()),
        (vec![JSON, YAML, PROTOBUF], "/none/such".into()),
        (vec![JSON, YAML, PROTOBUF, CBOR, METADATA, "text/html"], of_library("configmaps/shelf")),
        (vec![JSON, YAML, PROTOBUF, METADATA], of_library("secrets/safe")),
        (vec![JSON, PROTOBUF, TABLE], of_library("configmaps/none")),
        (vec![JSON, YAML, PROTOBUF, CBOR, TABLE, METADATA], format!("{books}/moby")),
        (vec![JSON, YAML, PROTOBUF, CBOR, METADATA_LIST], of_library(&format!("configmaps?{exact}"))),
        (vec![JSON, PROTOBUF], of_library(&format!("pods?{exact}"))),
        (vec![JSON, PROTOBUF], of_library(&format!("pods?{exact}&limit=1"))),
        (vec![JSON, PROTOBUF], of_library(&format!("pods?{exact}&fieldSelector=metadata.name%3Dtalker"))),
        (vec![JSON], of_library("pods?fieldSelector=nonsense")),
        (vec![JSON, TABLE, CBOR], format!("{books}?{exact}")),
        (vec![JSON, YAML, PROTOBUF, TABLE, METADATA_LIST], format!("{rbac}/clusterroles?{exact}")),
        (vec![JSON, TABLE], format!("{rbac}/namespaces/{LIBRARY}/roles?{exact}&includeObject=Object")),
        (vec!["*/*"], of_library("pods/talker/log?container=main")),
        (vec!["*/*"], of_library("pods/talker/log?container=none")),
        (vec![JSON, WATCH, CBOR], watch),
        (vec![JSON], format!("{WATCHED_PATH}?watch=1&resourceVersion=999999999&timeoutSeconds=1")),
    ];
    let mut all = Vec::new();
    for (accepts, path) in rows {
        for accept in accepts {
            // The largest answer by far comes as clients ask for it.
            let encodings: &[&str] =
                if path == "/openapi/v2" { &["gzip"] } else { &["", "gzip", "identity;q=1, gzip;q=0.5"] };
            for encoding in encodings {
                all.push(Transfer { method: "GET", path: path.clone(), accept, encoding });
            }
        }
    }
    for method in ["HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE"] {
        for path in [of_library("configmaps/none"), "/version".into(), "/none".into()] {
            all.push(Transfer { method, path, accept: JSON, encoding: "" });
        }
    }
    all
}

const WATCHED: &str = "watched-bytes";
const WATCHED_PATH: &str = "/api/v1/namespaces/watched-bytes/configmaps";

/// Changes that lie in the past, with the version before them.
fn history() -> u64 {
    WORLD.kubectl.run(["create", "namespace", WATCHED]).out_and_err();
    let kubectl = Kubectl::new(&WORLD.cluster, WATCHED);
    kubectl.run(["wait", "--for=create", "configmap/kube-root-ca.crt", "--timeout=60s"]).ok();
    let version = version_of(WATCHED_PATH);
    for number in 0..5 {
        kubectl.apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"n": format!("{number}"), "text": "x".repeat(20_000)},
        }));
    }
    kubectl.run(["delete", "configmap", "one"]).ok();
    version
}

#[track_caller]
fn version_of(path: &str) -> u64 {
    let text = WORLD.kubectl.run(["get", "--raw", &format!("{path}?limit=1")]).ok();
    let list: Value = serde_json::from_str(&text).expect("the API server's JSON");
    list["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).expect("a version")
}

/// What a pod gets, for each transfer: status, headers, and the body's size and SHA-256.
///
/// Of headers only `Date` and `Audit-Id` are left out; names are in lower case, as HTTP/2 has them anyway, and sorted. How an HTTP/1.1
/// body is framed belongs to one connection (RFC 9112, 6): the API server writes chunks to HTTP/1.1 where it tells HTTP/2, which the guard
/// speaks to it, the length. There the body's size says it all.
#[track_caller]
fn fetch(pod: &Pod, version: &str, transfers: &[Transfer]) -> Vec<Vec<String>> {
    let list: Vec<String> =
        transfers.iter().enumerate().map(|(number, one)| one.as_curl_reads_it(number, version)).collect();
    let script = format!("VERSION={version}\n{FETCH}");
    let out = pod.exec_with_input(["bash", "-c", &script], &list.join("next\n")).ok();
    let mut found = vec![Vec::new(); transfers.len()];
    let (heads, bodies) = out.split_once("==> bodies <==\n").expect("the script's last part");
    for file in heads.split("==> head.").skip(1) {
        let (number, head) = file.split_once(" <==\n").expect("tail's way to show a name");
        let mut lines = head.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let status = lines.next().map(str::to_owned);
        let mut headers: Vec<String> = lines.filter_map(|line| header(line, version)).collect();
        headers.sort();
        found[number.parse::<usize>().expect("a number")].extend(status.into_iter().chain(headers));
    }
    for line in bodies.lines() {
        if let Some((measured, number)) = line.split_once("body.") {
            found[number.parse::<usize>().expect("a number")].push(measured.trim().to_owned());
        }
    }
    found
}

fn header(line: &str, version: &str) -> Option<String> {
    let (name, value) = line.split_once(':')?;
    let name = name.to_ascii_lowercase();
    let framing = version == "http1.1" && ["content-length", "transfer-encoding"].contains(&name.as_str());
    (!framing && name != "date" && name != "audit-id").then(|| format!("{name}:{value}"))
}

impl Transfer {
    fn as_curl_reads_it(&self, number: usize, version: &str) -> String {
        let Self { method, path, accept, encoding } = self;
        let encoding =
            if encoding.is_empty() { String::new() } else { format!("header=\"Accept-Encoding: {encoding}\"\n") };
        // Of HEAD's answer, curl would write the headers once more.
        let (method, body) = match *method {
            "HEAD" => ("head".to_owned(), "/dev/null".to_owned()),
            other => (format!("request={other}"), format!("body.{number}")),
        };
        format!(
            "url=\"https://10.96.0.1{path}\"\n{version}\ncacert=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt\nmax-time=100\n\
             header=\"Authorization: Bearer TOKEN\"\nheader=\"Accept: {accept}\"\n{encoding}{method}\noutput={body}\ndump-header=head.{number}\n"
        )
    }

    fn shown(&self, of: &str, found: &[String]) -> String {
        let Self { method, path, accept, encoding } = self;
        format!("{of}: {method} {path} {accept} {encoding}\n  {}", found.join("\n  "))
    }
}

/// Those of the transfers in which both pods see different things, and what they see.
#[track_caller]
fn fetch_differing(version: &str, transfers: &[Transfer]) -> (Vec<Transfer>, Vec<String>) {
    if transfers.is_empty() {
        return Default::default();
    }
    let [guarded, direct] = PAIR.each_at_once(|pod| fetch(pod, version, transfers));
    assert!(guarded.iter().chain(&direct).all(|found| !found.is_empty()), "a transfer has no answer");
    let pairs = transfers.iter().zip(guarded.iter().zip(&direct)).filter(|(_, (guarded, direct))| guarded != direct);
    pairs
        .map(|(one, (guarded, direct))| {
            (one.clone(), format!("{}\n{}", one.shown("guarded", guarded), one.shown("direct", direct)))
        })
        .unzip()
}

#[test]
fn every_encoding_is_the_same_to_the_byte_over_both_versions_of_http() {
    shelved();
    let watched = history();
    let transfers = transfers(version_of(&format!("/api/v1/namespaces/{LIBRARY}/configmaps")), watched);
    for version in ["http2", "http1.1"] {
        let mut left = transfers.clone();
        let mut differing = Vec::new();
        for _ in 0..TRIES {
            (left, differing) = fetch_differing(version, &left);
        }
        assert!(left.is_empty(), "{version}: {} of {}:\n{}", left.len(), transfers.len(), differing.join("\n"));
    }
}
