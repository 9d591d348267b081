//! What each account may do is what docs/install.md says, with its reason: no more, and no less.

use std::collections::BTreeSet;
use std::path::Path;

use guard_e2e::harness::{RELEASE, rendered};
use serde_json::Value;
use xtask::cluster::Cluster;

/// Account, where, API group, resource, name, verb.
type Right = [String; 6];

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Each name alone; all of them is an empty text.
fn names(rule: &Value) -> Vec<String> {
    let names = texts(&rule["resourceNames"]);
    if names.is_empty() { vec![String::new()] } else { names }
}

fn rights_of(rule: &Value, account: &str, place: &str) -> Vec<Right> {
    let groups =
        texts(&rule["apiGroups"]).into_iter().map(|group| if group.is_empty() { "core".to_owned() } else { group });
    let resources =
        groups.flat_map(|group| texts(&rule["resources"]).into_iter().map(move |resource| (group.clone(), resource)));
    let urls = texts(&rule["nonResourceURLs"]).into_iter().map(|url| ("URL".to_owned(), url));
    let mut rights = Vec::new();
    for (group, resource) in resources.chain(urls) {
        for name in names(rule) {
            for verb in texts(&rule["verbs"]) {
                rights.push([account, place, &group, &resource, &name, &verb].map(str::to_owned));
            }
        }
    }
    rights
}

fn rendered_rights(set: &[&str]) -> BTreeSet<Right> {
    let cluster = std::env::var("EGRESS_GUARD_CLUSTER").expect("cargo xtask e2e runs these tests");
    let objects = rendered(&Cluster::load(&cluster).expect("a cluster"), set);
    let mut rights = BTreeSet::new();
    for binding in
        objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding")))
    {
        let place = binding["metadata"]["namespace"].as_str().unwrap_or("cluster");
        let role = objects
            .iter()
            .find(|role| {
                let same = |field: &str| role["metadata"][field] == binding["metadata"][field];
                role["kind"] == binding["roleRef"]["kind"]
                    && role["metadata"]["name"] == binding["roleRef"]["name"]
                    && same("namespace")
            })
            .unwrap_or_else(|| panic!("a binding to a role that the chart does not bring: {binding}"));
        for subject in binding["subjects"].as_array().expect("a binding has subjects") {
            assert_eq!(subject["kind"], "ServiceAccount");
            let account = subject["name"].as_str().expect("a name");
            for rule in role["rules"].as_array().expect("a role has rules") {
                rights.extend(rights_of(rule, account, place));
            }
        }
    }
    rights
}

fn documented() -> BTreeSet<Right> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/install.md");
    let text = std::fs::read_to_string(file).expect("docs/install.md");
    let table = text
        .lines()
        .skip_while(|line| !line.starts_with("| account |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut rights = BTreeSet::new();
    for line in table {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [account, place, group, resource, name, verbs, why] = cells.as_slice() else {
            panic!("seven columns: {line}")
        };
        assert!(!why.is_empty(), "a right without a reason: {line}");
        for verb in verbs.split(", ") {
            rights.insert([*account, *place, *group, *resource, *name, verb].map(str::to_owned));
        }
    }
    rights
}

#[test]
fn the_table_in_the_documentation_is_what_the_chart_gives() {
    let (given, said) = (rendered_rights(&[]), documented());
    let missing: Vec<_> = given.difference(&said).collect();
    let stale: Vec<_> = said.difference(&given).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "not in docs/install.md: {missing:#?}\nnot in the chart: {stale:#?}"
    );
}

#[test]
fn nobody_may_do_everything_nor_read_all_secrets_nor_be_somebody_else() {
    for set in [&[][..], &["admission.mode=webhook"]] {
        for right in rendered_rights(set) {
            let [_, _, group, resource, name, verb] = &right;
            assert!(right.iter().all(|part| !part.contains('*')), "a wildcard: {right:?}");
            assert_ne!(verb, "impersonate", "{right:?}");
            assert!(!matches!(verb.as_str(), "escalate" | "bind"), "{right:?}");
            let reads = ["get", "list", "watch", "update", "patch", "delete"].contains(&verb.as_str());
            assert!(
                group != "core" || resource != "secrets" || !reads || !name.is_empty(),
                "secrets without a name: {right:?}"
            );
            assert!(
                !(resource == "pods" && verb == "create") && resource != "pods/exec" && resource != "nodes/proxy",
                "{right:?}"
            );
        }
    }
    assert_eq!(RELEASE, "egress-guard", "the table names the namespace so");
}
