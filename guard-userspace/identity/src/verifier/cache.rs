//! Tokens that were verified already: a client sends the same one with each request of an hour.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};

use super::claims::Claims;

/// Most tokens remembered. A node runs some hundred pods, and each has one token or, during a rotation, two.
const MAX_TOKENS: usize = 1024;

/// SHA-256 of a token: the cache holds no token that could leak from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest([u8; 32]);

#[derive(Default)]
pub(super) struct VerifiedTokens {
    /// Never more than [`MAX_TOKENS`].
    tokens: RwLock<HashMap<TokenDigest, Verified>>,
}

struct Verified {
    claims: Arc<Claims>,
    /// Of the keys it was verified with. A key may since have been withdrawn.
    revision: u64,
}

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(sha256)
    }
}

impl VerifiedTokens {
    /// The claims of a token verified with the keys of `revision` whose `exp` is not before `oldest_expiry` (both in
    /// seconds since the epoch).
    pub(super) fn get(&self, digest: &TokenDigest, revision: Option<u64>, oldest_expiry: u64) -> Option<Arc<Claims>> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let verified = tokens.get(digest)?;
        let current = Some(verified.revision) == revision && verified.claims.exp >= oldest_expiry;
        current.then(|| Arc::clone(&verified.claims))
    }

    pub(super) fn insert(&self, digest: TokenDigest, claims: Arc<Claims>, revision: u64, oldest_expiry: u64) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, verified| verified.revision == revision && verified.claims.exp >= oldest_expiry);
        }
        if tokens.len() >= MAX_TOKENS
            && let Some(first_to_expire) =
                tokens.iter().min_by_key(|(_, verified)| verified.claims.exp).map(|(digest, _)| *digest)
        {
            tokens.remove(&first_to_expire);
        }
        tokens.insert(digest, Verified { claims, revision });
    }
}
