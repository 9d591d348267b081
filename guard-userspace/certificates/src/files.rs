//! Certificate and key from files, followed when they are renewed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::Serving;

/// Longest file that is read, in bytes. A chain has a few KiB.
const MAX_FILE_LEN: u64 = 1 << 20;

/// Why the files cannot be served. After a failed [`Files::reload`] the last good ones still are.
#[derive(Debug, Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; check the path, and that the guard may read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The files can be read, and are not what they should be.
    #[error("cannot serve with certificate {certificate} and key {key}: {reason}")]
    Unfit {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them, in words.
        reason: String,
    },
}

/// What a reload found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The certificate that is being served.
    Unchanged,
    /// Another one, which new connections now get.
    Replaced,
}

/// A certificate and its key, from PEM files; both may be in one.
#[derive(Debug)]
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
    serving: Arc<Serving>,
}

impl Files {
    /// Reads and checks both files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, FilesError> {
        let files =
            Self { certificate: certificate.to_owned(), key: key.to_owned(), serving: Arc::new(Serving::waiting()) };
        files.reload()?;
        Ok(files)
    }

    /// What serves them.
    pub fn serving(&self) -> Arc<Serving> {
        Arc::clone(&self.serving)
    }

    /// Reads both files again, and takes them over if they are good. To be called now and then: the caller reports the error.
    ///
    /// Between the renewal of the one file and of the other, they do not belong together: the next call finds both.
    pub fn reload(&self) -> Result<Reload, FilesError> {
        let (chain, key) = (read(&self.certificate)?, read(&self.key)?);
        match self.serving.replace(&chain, &key) {
            Ok(true) => Ok(Reload::Replaced),
            Ok(false) => Ok(Reload::Unchanged),
            Err(error) => Err(FilesError::Unfit {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
                reason: error.to_string(),
            }),
        }
    }
}

/// The whole file, in memory that is wiped: one of the two is a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FilesError> {
    let failed = |source| FilesError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len().min(MAX_FILE_LEN);
    // All of it at once, or growing would leave copies behind that nobody wipes.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or_default() + 1));
    file.take(MAX_FILE_LEN).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}
