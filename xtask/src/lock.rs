//! One at a time, between processes: a lock on a file, held until it is dropped.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};

/// Waits for the lock. `what` is told when somebody else has it.
pub fn hold(path: &Path, what: &str) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    locked(File::create(path).with_context(|| format!("making {}", path.display()))?, what)
}

/// The same on a folder that is there: no file stays behind.
pub fn hold_folder(path: &Path, what: &str) -> Result<File> {
    locked(File::open(path).with_context(|| format!("opening {}", path.display()))?, what)
}

fn locked(file: File, what: &str) -> Result<File> {
    if file.try_lock().is_err() {
        eprintln!("waiting for another xtask: {what}");
        file.lock().with_context(|| format!("waiting for {what}"))?;
    }
    Ok(file)
}
