//! Is this token the pod's own?

mod cache;
mod claims;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

use crate::MAX_TOKEN_LEN;
use crate::caller::Caller;
use crate::error::AuthError;
use crate::keys::{KeySource, Keys, Lookup, accepted_algorithms};
use crate::workload::Workload;
use cache::{TokenDigest, VerifiedTokens};
use claims::{Claims, Issuer};

/// The audience of the tokens that agent pods hold.
pub const AGENT_AUDIENCE: &str = "egressguard.io";
/// How far the clocks of API server and node may differ.
pub const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// What a verifier accepts.
#[derive(Debug, Clone)]
pub struct VerifierOptions {
    /// Exactly what `iss` must be: one of these, the API server's `--service-account-issuer` values.
    pub issuers: Vec<String>,
    /// Exactly what `aud` must be, with nothing beside it.
    pub audience: String,
    /// Added at both ends of a token's time.
    pub clock_skew: Duration,
}

/// Verifies the tokens that agent pods present.
pub struct TokenVerifier {
    options: VerifierOptions,
    keys: Arc<Keys>,
    verified: VerifiedTokens,
}

impl VerifierOptions {
    /// The audience and clock skew of every installation, with these issuers.
    pub fn for_issuers(issuers: Vec<String>) -> Self {
        Self { issuers, audience: AGENT_AUDIENCE.to_owned(), clock_skew: DEFAULT_CLOCK_SKEW }
    }
}

impl TokenVerifier {
    /// A verifier with keys from `source`; they are fetched with the first token.
    pub fn new(options: VerifierOptions, source: Arc<dyn KeySource>) -> Self {
        Self { options, keys: Keys::new(source), verified: VerifiedTokens::default() }
    }

    /// Checks that `bearer` (the token itself, see [`bearer_of`]) was issued for the guard's audience to the pod of `workload`.
    pub async fn verify(&self, workload: &Workload, bearer: Option<&str>) -> Result<Caller, AuthError> {
        let token = bearer.filter(|token| !token.is_empty()).ok_or(AuthError::Missing)?;
        if token.len() > MAX_TOKEN_LEN {
            return Err(AuthError::TooLong);
        }
        let digest = TokenDigest::of(token);
        let claims = match self.verified.get(&digest, self.keys.revision(), self.oldest_expiry()) {
            Some(claims) => claims,
            None => self.verify_anew(token, digest, workload).await?,
        };
        claims.caller_for(workload)
    }

    /// The whole check. Only what belongs to the calling pod is remembered, so no pod can fill the cache with others' tokens.
    async fn verify_anew(
        &self,
        token: &str,
        digest: TokenDigest,
        workload: &Workload,
    ) -> Result<Arc<Claims>, AuthError> {
        let (kid, algorithm) = signed_how(token)?;
        self.check_issuer(token)?;
        let (key, revision) = match self.keys.find(&kid, algorithm).await {
            Lookup::Found { key, revision } => (key, revision),
            Lookup::Unknown => return Err(AuthError::UnknownKey),
            Lookup::Unavailable => return Err(AuthError::KeysUnavailable),
        };
        let claims = Arc::new(self.decode(token, &key, algorithm)?);
        claims.caller_for(workload)?;
        self.verified.insert(digest, Arc::clone(&claims), revision, self.oldest_expiry());
        Ok(claims)
    }

    /// Looks at the unverified issuer: somebody else's token gets the answer that helps, and no look-up of its key.
    fn check_issuer(&self, token: &str) -> Result<(), AuthError> {
        let Issuer { iss } =
            jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| AuthError::Malformed)?;
        if self.options.issuers.contains(&iss) { Ok(()) } else { Err(AuthError::Issuer) }
    }

    fn decode(&self, token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Claims, AuthError> {
        let claims =
            decode::<Claims>(token, key, &self.validation(algorithm)).map_err(|error| refusal(error.kind()))?.claims;
        // The library is content with one audience among several: such a token would be worth something elsewhere too.
        if claims.has_only_audience(&self.options.audience) { Ok(claims) } else { Err(AuthError::Audience) }
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.options.clock_skew.as_secs();
        validation.validate_nbf = true;
        validation.set_audience(&[&self.options.audience]);
        validation.set_issuer(&self.options.issuers);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation
    }

    /// The `exp` (seconds since the epoch) that is just not over.
    fn oldest_expiry(&self) -> u64 {
        // A clock before 1970 lets nothing through: every `nbf` lies in its future.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(self.options.clock_skew).as_secs()
    }
}

/// The token in an `Authorization` header of the scheme `Bearer` (RFC 6750; the scheme in any case); `None` if there is none.
pub fn bearer_of(authorization: &http::HeaderValue) -> Option<&str> {
    let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Name of the key and algorithm, as the token's unverified header says.
fn signed_how(token: &str) -> Result<(String, Algorithm), AuthError> {
    let header = decode_header(token).map_err(|error| match error.kind() {
        ErrorKind::InvalidAlgorithmName => AuthError::Algorithm,
        _ => claims::unknown_algorithm(token),
    })?;
    if !accepted_algorithms(header.alg) {
        return Err(AuthError::Algorithm);
    }
    // RFC 7515, 4.1.11: what is critical must be understood, and we understand no extension.
    if header.crit.is_some() {
        return Err(AuthError::Malformed);
    }
    let kid = header.kid.filter(|kid| !kid.is_empty()).ok_or(AuthError::UnknownKey)?;
    Ok((kid, header.alg))
}

fn refusal(kind: &ErrorKind) -> AuthError {
    match kind {
        ErrorKind::InvalidSignature => AuthError::Signature,
        ErrorKind::InvalidIssuer => AuthError::Issuer,
        ErrorKind::InvalidAudience => AuthError::Audience,
        ErrorKind::ExpiredSignature => AuthError::Expired,
        ErrorKind::ImmatureSignature => AuthError::NotYetValid,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => AuthError::Algorithm,
        _ => AuthError::Malformed,
    }
}
