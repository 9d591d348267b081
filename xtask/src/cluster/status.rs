//! What of a cluster runs.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::{Cluster, Name, cleanup};
use crate::paths::Paths;

/// One program of a cluster.
#[derive(Clone, Debug)]
pub struct Part {
    /// Such as `n1/kubelet`.
    pub name: String,
    /// Its process id.
    pub pid: i32,
    /// Whether it still runs.
    pub alive: bool,
    /// Its log.
    pub log: PathBuf,
}

/// The programs that were started, and whether each still runs; empty when there is no such cluster.
pub fn status(paths: &Paths, name: &Name) -> Vec<Part> {
    let processes = cleanup::recorded(&Cluster::dir_of(paths, name));
    processes.into_iter().map(|p| Part { alive: p.alive(), name: p.name, pid: p.pid, log: p.log }).collect()
}

/// The names of the clusters that have a state folder.
pub fn names(paths: &Paths) -> Result<Vec<Name>> {
    let folders = fs::read_dir(paths.clusters()).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<Name> =
        folders.filter_map(|entry| Name::new(entry.file_name().into_string().ok()?).ok()).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    Ok(names)
}
