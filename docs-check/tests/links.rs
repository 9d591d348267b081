//! Every link of the documentation that stays in the repository leads somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use guard_docs::{Link, Page, pages};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

fn wrong_with(page: &Page, link: &Link, all: &[Page]) -> Option<String> {
    if link.target.contains("://") || link.target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) =
        link.target.split_once('#').map_or((link.target.as_str(), None), |(file, anchor)| (file, Some(anchor)));
    let folder = page.path.parent().expect("a page lies in a folder");
    let target = if file.is_empty() { page.path.clone() } else { folder.join(file) };
    let Ok(target) = target.canonicalize() else { return Some("there is no such file".to_owned()) };
    if let Some(anchor) = anchor {
        let other = all.iter().find(|other| other.path.canonicalize().is_ok_and(|path| path == target));
        let Some(other) = other else { return Some("an anchor into something that is no page".to_owned()) };
        return (!other.anchors.contains(anchor)).then(|| format!("no such heading; there are {:?}", other.anchors));
    }
    is_missing_from(&target, &link.text).then(|| format!("there is no `fn {}` in it", link.text))
}

/// A link that is called by a function's name leads to the file that has it: so a promise names its test.
fn is_missing_from(target: &Path, text: &str) -> bool {
    let is_function = text.contains('_') && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let is_source = target.extension().is_some_and(|kind| kind == "rs");
    is_function && is_source && !fs::read_to_string(target).unwrap_or_default().contains(&format!("fn {text}("))
}

#[test]
fn every_link_leads_to_a_file_a_heading_or_a_function() {
    let pages = pages(&root()).expect("the documentation");
    assert!(pages.len() > 5, "{} pages", pages.len());
    let mut links = 0;
    let mut wrong = Vec::new();
    for page in &pages {
        for link in &page.links {
            links += 1;
            wrong.extend(
                wrong_with(page, link, &pages)
                    .map(|why| format!("{}:{} {:?}: {why}", page.name(), link.line, link.target)),
            );
        }
    }
    assert!(links > 20, "{links} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
