//! The documentation as its tests read it: what a page links to, which places it has, and what a reader would copy from it.
//!
//! Whoever owns what a page names checks it: the links here, `guard` and `cargo xtask` their own commands, an area of end-to-end tests
//! what only a cluster can judge.

#![forbid(unsafe_code)]

mod command;
mod page;

use std::path::Path;
use std::{fs, io};

pub use command::Command;
pub use page::{Block, Link, Page};

/// The README, and every page in `docs`.
///
/// # Errors
/// If one can't be read.
pub fn pages(root: &Path) -> io::Result<Vec<Page>> {
    let mut files = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "md") {
            files.push(path);
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file)?;
            Ok(Page::new(file, &text))
        })
        .collect()
}

/// Every command of these pages whose words begin with `program`.
pub fn commands_of(pages: &[Page], program: &[&str]) -> Vec<Command> {
    pages.iter().flat_map(Page::commands).filter(|command| command.is_of(program)).collect()
}
