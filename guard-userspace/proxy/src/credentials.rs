//! The two tokens of an agent pod, seen from the pipeline.

use async_trait::async_trait;
use guard_identity::{AuthError, Caller, TokenVerifier, UpstreamError, UpstreamToken, Workload};
use http::HeaderValue;

/// Says who sends a request that came from `workload`.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// The caller that `bearer`, the token of the request, proves.
    ///
    /// # Errors
    /// If it proves nothing, or somebody other than the pod that the kernel says is calling.
    async fn authenticate(&self, workload: &Workload, bearer: Option<&str>) -> Result<Caller, AuthError>;
}

/// What a workload's requests carry to the API server.
#[async_trait]
pub trait UpstreamCredentials: Send + Sync {
    /// The value of `Authorization`, marked sensitive; `None` where the connection itself proves who calls, by a client certificate.
    ///
    /// # Errors
    /// If there should be one and is none now.
    async fn authorization(&self) -> Result<Option<HeaderValue>, UpstreamError>;

    /// The API server said 401 to it: look again before the next use.
    fn invalidate(&self);
}

#[async_trait]
impl Authenticate for TokenVerifier {
    async fn authenticate(&self, workload: &Workload, bearer: Option<&str>) -> Result<Caller, AuthError> {
        self.verify(workload, bearer).await
    }
}

#[async_trait]
impl UpstreamCredentials for UpstreamToken {
    async fn authorization(&self) -> Result<Option<HeaderValue>, UpstreamError> {
        self.bearer().await.map(Some)
    }

    fn invalidate(&self) {
        Self::invalidate(self);
    }
}
