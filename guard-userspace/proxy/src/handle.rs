//! One workload as the proxy serves it: its identity, its credential, its connections.

use std::sync::Arc;

use guard_identity::Workload;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{UpstreamCredentials, config::Limits, upstream::Pool};

/// What [`crate::Proxy::serve`] needs to know about who is calling. Made once per workload by [`crate::Proxy::handle`];
/// when the last clone goes, its unused connections to the API server close.
pub struct Handle {
    workload: Arc<Workload>,
    credentials: Arc<dyn UpstreamCredentials>,
    pool: Pool,
    connections: Arc<Semaphore>,
    exchanges: Arc<Semaphore>,
}

impl Handle {
    pub(crate) fn new(
        workload: Arc<Workload>,
        credentials: Arc<dyn UpstreamCredentials>,
        pool: Pool,
        limits: &Limits,
    ) -> Self {
        Self {
            workload,
            credentials,
            pool,
            connections: Arc::new(Semaphore::new(limits.connections)),
            exchanges: Arc::new(Semaphore::new(limits.exchanges)),
        }
    }

    /// Who it is.
    pub fn workload(&self) -> &Arc<Workload> {
        &self.workload
    }

    pub(crate) fn credentials(&self) -> &dyn UpstreamCredentials {
        &*self.credentials
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A place for one more connection, if the workload may have it.
    pub(crate) fn admit_connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// A place for one more exchange, if the workload may have it.
    pub(crate) fn admit_exchange(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.exchanges).try_acquire_owned().ok()
    }
}
