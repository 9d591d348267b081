//! Events: each reason that the guard gives is in the table of docs/troubleshooting.md, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

use crate::documented::{file, text};

/// Where events are made.
const SOURCES: [&str; 2] = ["guard-userspace/guard/src", "guard-userspace/workload/src"];

/// The reasons in the source: of a note, of a notice on an agent's life, of an event as kube has it. Tests are no source.
fn given() -> BTreeSet<String> {
    let patterns =
        [r#"Note::(?:warning|normal)\(\s*"(\w+)""#, r#"=> "(Agent\w+)""#, r#"EventType::\w+,\s+reason: "(\w+)""#];
    let patterns = patterns.map(|pattern| Regex::new(pattern).expect("a pattern"));
    let mut found = BTreeSet::new();
    for text in SOURCES.iter().flat_map(|folder| sources(&file(folder))) {
        let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
        for pattern in &patterns {
            found.extend(pattern.captures_iter(code).map(|captures| captures[1].to_owned()));
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten().map(|entry| entry.path()) {
        if entry.is_dir() {
            texts.extend(sources(&entry));
        } else if entry.extension().is_some_and(|kind| kind == "rs") && !entry.ends_with("tests.rs") {
            texts.push(fs::read_to_string(&entry).expect("a source"));
        }
    }
    texts
}

#[test]
fn each_reason_of_an_event_is_documented_and_no_other() {
    let text = text("docs/troubleshooting.md");
    let (_, below) = text.split_once("\n## Events\n").expect("a section on events");
    let table = below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let rows = table.skip(2).filter_map(|line| line.split('|').nth(1));
    let documented: BTreeSet<String> = rows
        .flat_map(|cell| cell.split(',').map(|reason| reason.trim().trim_matches('`').to_owned()))
        .filter(|reason| !reason.is_empty())
        .collect();
    assert!(given().len() > 15, "{:?}", given());
    assert_eq!(documented, given());
}
