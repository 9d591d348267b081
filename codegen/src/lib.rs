//! The files in the repository that come from code. Each generator is one entry of [`generated`].

#![forbid(unsafe_code)]

mod admission;
mod crds;
mod detectors;

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

/// A file that comes from code.
#[derive(Debug)]
pub struct Generated {
    /// Relative to the repository's root.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// Every file that comes from code.
pub fn generated() -> Result<Vec<Generated>> {
    Ok([crds::files()?, admission::files()?, detectors::files()].into_iter().flatten().collect())
}

/// The files that are not what the code says, those that are missing included.
pub fn stale(root: &Path) -> Result<Vec<PathBuf>> {
    let mut stale = Vec::new();
    for file in generated()? {
        if read(&root.join(&file.path))?.as_deref() != Some(&*file.text) {
            stale.push(file.path);
        }
    }
    Ok(stale)
}

/// Writes those that are not current; returns them.
pub fn write(root: &Path) -> Result<Vec<PathBuf>> {
    let stale = stale(root)?;
    for file in generated()?.into_iter().filter(|file| stale.contains(&file.path)) {
        let path = root.join(&file.path);
        let folder = path.parent().context("a generated file lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        fs::write(&path, file.text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(stale)
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn what_is_committed_is_what_the_code_says() {
        assert_eq!(stale(root()).unwrap(), [] as [PathBuf; 0], "`cargo xtask codegen` writes them anew");
    }

    #[test]
    fn two_runs_write_the_same() {
        let texts = || generated().unwrap().into_iter().map(|file| file.text).collect::<Vec<_>>();
        assert_eq!(texts(), texts());
    }
}
