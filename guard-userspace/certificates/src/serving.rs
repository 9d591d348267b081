//! Certificate and key from files, followed when they are renewed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::leaf::{Leaf, LeafError};

/// Longest file that is read, in bytes. A chain has a few KiB.
const MAX_FILE_LEN: u64 = 1 << 20;

/// Why the files cannot be served. After a failed [`Serving::reload`] the last good ones still are.
#[derive(Debug, Error)]
pub enum ServingError {
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
        /// `--serving-certificate`.
        certificate: PathBuf,
        /// `--serving-key`.
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

/// The guard's certificate and key, from PEM files. Every client gets the same leaf, whatever name it asks for: agents dial the
/// API server by address, which is in the leaf's subject alternative names.
pub struct Serving {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<Leaf>,
}

impl Serving {
    /// Reads and checks both files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, ServingError> {
        let leaf = read(certificate, key)?;
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current: ArcSwap::from_pointee(leaf) })
    }

    /// Reads both files again, and takes them over if they are good. To be called now and then: the caller reports the error.
    ///
    /// Between the renewal of the one file and of the other, they do not belong together: the next call finds both.
    pub fn reload(&self) -> Result<Reload, ServingError> {
        let leaf = read(&self.certificate, &self.key)?;
        if leaf.certified.cert == self.current.load().certified.cert {
            return Ok(Reload::Unchanged);
        }
        self.current.store(Arc::new(leaf));
        Ok(Reload::Replaced)
    }

    /// Until when the certificate being served is valid.
    pub fn not_after(&self) -> SystemTime {
        self.current.load().not_after
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().certified))
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Leaf, ServingError> {
    let chain_pem = read_file(certificate)?;
    let key_pem = read_file(key)?;
    Leaf::from_pem(&chain_pem, &key_pem, SystemTime::now()).map_err(|error: LeafError| ServingError::Unfit {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        reason: error.to_string(),
    })
}

/// The whole file, in memory that is wiped: one of the two is a key.
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, ServingError> {
    let failed = |source| ServingError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len().min(MAX_FILE_LEN);
    // All of it at once, or growing would leave copies behind that nobody wipes.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or_default() + 1));
    file.take(MAX_FILE_LEN).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}
