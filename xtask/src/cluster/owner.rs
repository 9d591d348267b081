//! Clusters that belong to one run of `xtask`: when that run is gone without taking its cluster down, the next one does.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Name, down};
use crate::paths::Paths;
use crate::process::Recorded;
use crate::progress::Progress;

/// Marks a cluster, not yet up, as this process's own.
pub fn own(paths: &Paths, name: &Name) -> Result<()> {
    let file = file(paths, name);
    fs::create_dir_all(paths.clusters()).with_context(|| format!("making {}", paths.clusters().display()))?;
    let text = serde_json::to_vec(&Recorded::this_process()?).context("describing this process")?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

/// Nobody's any more: it is down, or it is to stay.
pub fn disown(paths: &Paths, name: &Name) -> Result<()> {
    let file = file(paths, name);
    // The name is never used again, so neither is its lock.
    let _ = fs::remove_file(file.with_extension("lock"));
    match fs::remove_file(&file) {
        // Another run may have swept the same cluster.
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Takes down the clusters whose owner has ended.
pub fn sweep(paths: &Paths, progress: &Progress) -> Result<()> {
    for file in fs::read_dir(paths.clusters()).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if let Some(name) = orphan(&file) {
            progress.note(&format!("cluster {name} was left by a run that is gone: taking it down"));
            down(paths, &name)?;
            disown(paths, &name)?;
        }
    }
    Ok(())
}

fn orphan(file: &Path) -> Option<Name> {
    let name = file.file_name()?.to_str()?.strip_suffix(".owner")?;
    let owner: Recorded = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    if owner.alive() { None } else { Name::new(name).ok() }
}

fn file(paths: &Paths, name: &Name) -> PathBuf {
    paths.clusters().join(format!("{name}.owner"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cluster_whose_owner_has_ended_is_an_orphan() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("e2e-x.owner");
        let me = Recorded::this_process().unwrap();
        fs::write(&file, serde_json::to_vec(&me).unwrap()).unwrap();
        assert_eq!(orphan(&file), None);
        let gone = Recorded { started: me.started + 1, ..me };
        fs::write(&file, serde_json::to_vec(&gone).unwrap()).unwrap();
        assert_eq!(orphan(&file), Some(Name::new("e2e-x").unwrap()));
        assert_eq!(orphan(&folder.path().join("e2e-x.lock")), None);
    }
}
