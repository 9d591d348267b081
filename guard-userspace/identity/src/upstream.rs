//! The credential that the guard forwards a pod's requests with.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use thiserror::Error;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::MAX_TOKEN_LEN;
use crate::pod::PodUid;

/// Name of the projected volume that admission adds for the gate and that the guard reads on the node.
pub const UPSTREAM_VOLUME: &str = "egress-guard-upstream";
/// A token is at most this old: the file is read again after it. The kubelet renews it at 80 % of an hour.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Why the pod's own credential cannot be had. The request it is for fails.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// A directory on the way, or the file, cannot be opened.
    #[error(
        "cannot open {path}: {source}; check that the pod has the volume {UPSTREAM_VOLUME} with a projected ServiceAccount token, \
         that it is mounted by the gate, and that the guard's --kubelet-root is the kubelet's --root-dir"
    )]
    Open {
        /// What was opened.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file opened, and cannot be read.
    #[error("cannot read {path}: {source}; check the node's disk and memory")]
    Read {
        /// What was read.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Something other than the file that the kubelet writes.
    #[error("{path} is no token file ({why}); check who besides the kubelet writes below {UPSTREAM_VOLUME}")]
    NoToken {
        /// What was read.
        path: PathBuf,
        /// In which way it is none.
        why: &'static str,
    },
    /// What the caller's own kubeconfig says can't be done: a plugin fails, a file is gone.
    #[error("the kubeconfig's credential can't be had: {0}; try `kubectl auth whoami` with the same kubeconfig")]
    Caller(String),
    /// The guard is shutting down.
    #[error("the guard is stopping and reads {path} no more")]
    Stopping {
        /// What would have been read.
        path: PathBuf,
    },
}

/// The token in a pod's volume `egress-guard-upstream`, read from the kubelet's directory, with rotation followed.
///
/// The agent has no access to that volume. Neither the token nor a header made of it shows in `Debug` output; the memory that
/// held it is wiped when the last header is gone.
pub struct UpstreamToken {
    location: Arc<Location>,
    state: Mutex<State>,
}

/// Where the token is. Only `kubelet_root` is the administrator's; everything below it is resolved beneath it.
struct Location {
    kubelet_root: PathBuf,
    /// Below `kubelet_root`.
    volume: PathBuf,
}

#[derive(Default)]
struct State {
    latest: Option<Latest>,
    /// Counts the calls of `invalidate`: a file read before the last one is not kept.
    invalidations: u64,
}

struct Latest {
    bearer: HeaderValue,
    read: Instant,
}

impl UpstreamToken {
    /// The token of the pod `pod`, of the kubelet whose `--root-dir` is `kubelet_root`. Nothing is read yet.
    pub fn new(kubelet_root: &Path, pod: &PodUid) -> Self {
        let volume = Path::new("pods").join(pod.as_str()).join("volumes/kubernetes.io~projected").join(UPSTREAM_VOLUME);
        let location = Arc::new(Location { kubelet_root: kubelet_root.to_owned(), volume });
        Self { location, state: Mutex::new(State::default()) }
    }

    /// The value of an `Authorization` header, marked sensitive, made from a file read at most 10 s ago.
    pub async fn bearer(&self) -> Result<HeaderValue, UpstreamError> {
        let invalidations = {
            let state = self.state();
            if let Some(latest) = state.latest.as_ref().filter(|latest| latest.read.elapsed() < MAX_AGE) {
                return Ok(latest.bearer.clone());
            }
            state.invalidations
        };
        let location = Arc::clone(&self.location);
        let read = Instant::now();
        // Two requests that find it old at once read it twice: cheaper than to let one wait for the other.
        let bearer = tokio::task::spawn_blocking(move || location.read())
            .await
            .map_err(|_| UpstreamError::Stopping { path: self.location.path() })??;
        let mut state = self.state();
        if state.invalidations == invalidations {
            state.latest = Some(Latest { bearer: bearer.clone(), read });
        }
        Ok(bearer)
    }

    /// Forgets what was read: the API server answered 401, so the next request reads the file.
    pub fn invalidate(&self) {
        let mut state = self.state();
        state.latest = None;
        state.invalidations += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for UpstreamToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamToken").field("path", &self.location.path()).finish_non_exhaustive()
    }
}

impl Location {
    fn path(&self) -> PathBuf {
        self.kubelet_root.join(&self.volume).join("token")
    }

    fn read(&self) -> Result<HeaderValue, UpstreamError> {
        let file = file::read_beneath(&self.kubelet_root, &self.volume, "token", MAX_TOKEN_LEN)?;
        let token = file.trim_ascii();
        let no_token = |why| UpstreamError::NoToken { path: self.path(), why };
        if token.is_empty() {
            return Err(no_token("it is empty"));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(no_token("it holds more than one word of ASCII"));
        }
        bearer_header(token).ok_or_else(|| no_token("it does not fit into a header"))
    }
}

/// `Bearer TOKEN` in memory that is wiped when it is freed.
fn bearer_header(token: &[u8]) -> Option<HeaderValue> {
    let mut value = Zeroizing::new(Vec::with_capacity("Bearer ".len() + token.len()));
    value.extend_from_slice(b"Bearer ");
    value.extend_from_slice(token);
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    header.set_sensitive(true);
    Some(header)
}
