//! One workload as the proxy serves it: its identity, its credential, its connections, its account.

use std::sync::Arc;

use crate::{UpstreamCredentials, quota::Quota, upstream::Pool};
use guard_identity::Workload;

/// What [`crate::Proxy::serve`] needs to know about who is calling. Made once per workload by [`crate::Proxy::handle`];
/// when the last clone goes, its unused connections to the API server close.
pub struct Handle {
    workload: Arc<Workload>,
    credentials: Arc<dyn UpstreamCredentials>,
    pool: Pool,
    quota: Arc<Quota>,
}

impl Handle {
    pub(crate) fn new(
        workload: Arc<Workload>,
        credentials: Arc<dyn UpstreamCredentials>,
        pool: Pool,
        quota: Arc<Quota>,
    ) -> Self {
        Self { workload, credentials, pool, quota }
    }

    /// Who it is.
    pub fn workload(&self) -> &Arc<Workload> {
        &self.workload
    }

    /// Whether the workload has as many connections as it may: another one is closed when it is served.
    pub fn is_full(&self) -> bool {
        self.quota.is_full()
    }

    pub(crate) fn credentials(&self) -> &dyn UpstreamCredentials {
        &*self.credentials
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }
}
