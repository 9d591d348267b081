//! The issuer's public keys: fetched when needed, kept while the source is away.

mod set;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use jsonwebtoken::{Algorithm, DecodingKey};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub(crate) use set::accepted_algorithms;
use set::{KeySet, KeySetError};

/// Largest JWKS document that is read, in bytes.
pub const MAX_JWKS_LEN: usize = 1 << 20;
/// An unknown `kid` makes the keys be fetched again, but not sooner than this after the last fetch: an agent can invent any
/// number of them.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// The same, as long as no keys were ever fetched: nothing works until they are.
const MIN_FIRST_FETCH_INTERVAL: Duration = Duration::from_secs(1);
/// Keys older than this are fetched anew beside the request that notices, so that a withdrawn key goes.
const SOFT_TTL: Duration = Duration::from_mins(5);
/// A source that has not answered by then counts as away.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the issuer's keys come from: `/openid/v1/jwks` of the API server, for instance.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The JWKS document (RFC 7517). An implementation stops reading at `limit` bytes.
    async fn fetch(&self, limit: usize) -> Result<Vec<u8>, KeySourceError>;
}

/// The source could not give the keys. The text says what was tried, on what, and what to check.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct KeySourceError(pub String);

/// Why a fetch brought no keys. For the log: the client learns no more than [`crate::AuthError::KeysUnavailable`].
#[derive(Debug, Error)]
enum RefreshError {
    #[error(transparent)]
    Source(#[from] KeySourceError),
    #[error("no answer within {} s; check that the API server can be reached from this node", FETCH_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Document(#[from] KeySetError),
}

/// What a look-up found.
pub(crate) enum Lookup {
    /// A key of that name, which may verify that algorithm, from the key set of that revision.
    Found { key: DecodingKey, revision: u64 },
    /// The issuer publishes no such key.
    Unknown,
    /// There are no keys at all.
    Unavailable,
}

/// The keys, shared by all who verify.
pub(crate) struct Keys {
    source: Arc<dyn KeySource>,
    current: ArcSwapOption<Fetched>,
    /// When the source was last asked, whatever it said. Held while it is being asked, so it is asked once.
    last_attempt: Mutex<Option<Instant>>,
}

struct Fetched {
    set: KeySet,
    at: Instant,
    /// Counts the sets whose content differed: what was verified with an older one is verified again.
    revision: u64,
}

impl Keys {
    pub(crate) fn new(source: Arc<dyn KeySource>) -> Arc<Self> {
        Arc::new(Self { source, current: ArcSwapOption::empty(), last_attempt: Mutex::new(None) })
    }

    /// Revision of the keys at hand; `None` before the first fetch. Starts a refresh of old ones without waiting for it.
    pub(crate) fn revision(self: &Arc<Self>) -> Option<u64> {
        let fetched = self.current.load_full()?;
        self.refresh_if_old(&fetched);
        Some(fetched.revision)
    }

    /// The key named `kid` for `algorithm`; fetches the keys if they do not have it and the last fetch is long enough ago.
    pub(crate) async fn find(self: &Arc<Self>, kid: &str, algorithm: Algorithm) -> Lookup {
        if let Some(found) = self.cached(kid, algorithm) {
            return found;
        }
        let mut last_attempt = self.last_attempt.lock().await;
        if let Some(found) = self.cached(kid, algorithm) {
            return found;
        }
        let interval = if self.current.load().is_some() { MIN_REFRESH_INTERVAL } else { MIN_FIRST_FETCH_INTERVAL };
        if last_attempt.is_none_or(|at| at.elapsed() >= interval) {
            *last_attempt = Some(Instant::now());
            self.refresh().await;
        }
        drop(last_attempt);
        match self.cached(kid, algorithm) {
            Some(found) => found,
            None if self.current.load().is_some() => Lookup::Unknown,
            None => Lookup::Unavailable,
        }
    }

    fn cached(&self, kid: &str, algorithm: Algorithm) -> Option<Lookup> {
        let fetched = self.current.load_full()?;
        let key = fetched.set.find(kid, algorithm)?.clone();
        Some(Lookup::Found { key, revision: fetched.revision })
    }

    fn refresh_if_old(self: &Arc<Self>, fetched: &Fetched) {
        if fetched.at.elapsed() < SOFT_TTL {
            return;
        }
        let keys = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(mut last_attempt) = keys.last_attempt.try_lock() else {
                return;
            };
            if last_attempt.is_none_or(|at| at.elapsed() >= MIN_REFRESH_INTERVAL) {
                *last_attempt = Some(Instant::now());
                keys.refresh().await;
            }
        });
    }

    /// Asks the source, and keeps what is at hand if it has no better answer.
    async fn refresh(&self) {
        match self.fetch().await {
            Ok(set) => self.store(set),
            Err(error) => {
                tracing::warn!(%error, cached = self.current.load().is_some(), "the issuer's keys could not be fetched");
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, RefreshError> {
        let document = tokio::time::timeout(FETCH_TIMEOUT, self.source.fetch(MAX_JWKS_LEN))
            .await
            .map_err(|_| RefreshError::Timeout)??;
        Ok(KeySet::parse(&document)?)
    }

    fn store(&self, set: KeySet) {
        let revision = match &*self.current.load() {
            Some(before) if before.set.same_document(&set) => before.revision,
            Some(before) => before.revision + 1,
            None => 0,
        };
        self.current.store(Some(Arc::new(Fetched { set, at: Instant::now(), revision })));
    }
}
