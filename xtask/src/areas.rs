//! The end-to-end tests, by area: each is a file in `tests/tests`, its first line says what it shows.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::paths::Paths;

/// A named part: an area of tests, a benchmark, a fuzz target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name: the file's.
    pub name: String,
    /// The first line of its documentation.
    pub about: String,
}

/// The areas of end-to-end tests.
pub fn areas(paths: &Paths) -> Result<Vec<Part>> {
    parts_in(&paths.root.join("tests/tests"))
}

/// The Rust files of a folder; none if there is no such folder.
pub fn parts_in(folder: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for file in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|kind| kind == "rs") {
            let name = file.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            parts.push(Part { name, about: about(&text) });
        }
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(parts)
}

/// Prints a list, a line each.
pub fn print(parts: &[Part]) {
    for part in parts {
        println!("  {:12} {}", part.name, part.about);
    }
}

fn about(source: &str) -> String {
    source.lines().find_map(|line| line.strip_prefix("//!")).map_or_else(String::new, |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_a_file_and_its_first_line_of_documentation() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.rs"), "//! The second.\n//! More.\n").unwrap();
        fs::write(folder.path().join("a.rs"), "fn main() {}\n").unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        let parts = parts_in(folder.path()).unwrap();
        assert_eq!(
            parts,
            [Part { name: "a".into(), about: String::new() }, Part { name: "b".into(), about: "The second.".into() }]
        );
        assert!(parts_in(&folder.path().join("nothing")).unwrap().is_empty());
    }
}
