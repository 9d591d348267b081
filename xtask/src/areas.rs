//! The end-to-end tests, by area: each is a program in `tests/tests`, its first sentence says what it shows.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;

use crate::cluster::Feature;
use crate::paths::Paths;
use crate::progress::say;

/// A named part: an area of tests, a benchmark, a fuzz target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name: the file's.
    pub name: String,
    /// The first sentence of its documentation.
    pub about: String,
    /// What the API server of its cluster lacks: a line `// without: FEATURE, …`.
    pub without: Vec<Feature>,
}

/// The areas of end-to-end tests.
pub fn areas(paths: &Paths) -> Result<Vec<Part>> {
    parts_in(&paths.root.join("tests/tests"))
}

/// The areas that take too long for every run.
pub fn slow_areas(paths: &Paths) -> Result<Vec<Part>> {
    parts_in(&paths.root.join("tests/slow"))
}

/// The programs that cargo finds in a folder: `NAME.rs`, or `NAME/main.rs`. None if there is no such folder.
pub fn parts_in(folder: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let source = if path.is_dir() { path.join("main.rs") } else { path.clone() };
        if source.extension().is_some_and(|kind| kind == "rs") && source.exists() {
            let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
            let text = fs::read_to_string(&source).with_context(|| format!("reading {}", source.display()))?;
            let without = without(&text).with_context(|| format!("reading {}", source.display()))?;
            parts.push(Part { name, about: about(&text), without });
        }
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(parts)
}

/// Prints a list, a line each.
pub fn print(parts: &[Part]) {
    for part in parts {
        say(format_args!("  {:12} {}", part.name, part.about));
    }
}

/// The first sentence of a file's documentation.
fn about(source: &str) -> String {
    let lines = source.lines().skip_while(|line| !line.starts_with("//!")).map_while(|line| line.strip_prefix("//!"));
    let paragraph: Vec<&str> = lines.map(str::trim).take_while(|line| !line.is_empty()).collect();
    let text = paragraph.join(" ");
    text.split_once(". ").map_or(text.clone(), |(sentence, _)| format!("{sentence}."))
}

/// The features that a file's line says its cluster is to lack.
fn without(source: &str) -> Result<Vec<Feature>> {
    let line = source.lines().find_map(|line| line.strip_prefix("// without:"));
    let names = line.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| Feature::from_str(name, false).map_err(|error| anyhow!("feature {name:?}: {error}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_may_ask_for_an_older_cluster() {
        let features = [Feature::TrustBundles, Feature::MutatingPolicies];
        assert_eq!(without("//! About.\n// without: trust-bundles, mutating-policies\n").unwrap(), features);
        assert!(without("// without: electricity\n").is_err());
    }

    #[test]
    fn an_area_is_a_file_and_its_first_sentence() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.rs"), "//! The\n//! second. More.\n").unwrap();
        fs::write(folder.path().join("a.rs"), "fn main() {}\n").unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        fs::create_dir_all(folder.path().join("c")).unwrap();
        fs::write(folder.path().join("c/main.rs"), "//! The third.\n").unwrap();
        fs::create_dir_all(folder.path().join("helpers")).unwrap();
        let parts = parts_in(folder.path()).unwrap();
        let part = |name: &str, about: &str| Part { name: name.into(), about: about.into(), without: Vec::new() };
        assert_eq!(parts, [part("a", ""), part("b", "The second."), part("c", "The third.")]);
        assert!(parts_in(&folder.path().join("nothing")).unwrap().is_empty());
    }
}
