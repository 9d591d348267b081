//! Whose an address is: netfilter sees packets, not veths.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use super::WorkloadId;

/// The workloads' addresses; clones share them.
#[derive(Clone, Default)]
pub(super) struct AddressBook(Arc<RwLock<HashMap<IpAddr, WorkloadId>>>);

impl AddressBook {
    pub(super) fn new(addresses: Vec<(WorkloadId, IpAddr)>) -> Self {
        let by_address = addresses.into_iter().map(|(workload, address)| (address.to_canonical(), workload));
        Self(Arc::new(RwLock::new(by_address.collect())))
    }

    pub(super) fn workload(&self, address: IpAddr) -> Option<WorkloadId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&address.to_canonical()).copied()
    }

    pub(super) fn add(&self, workload: WorkloadId, addresses: &[IpAddr]) {
        let mut book = self.0.write().unwrap_or_else(PoisonError::into_inner);
        book.extend(addresses.iter().map(|address| (address.to_canonical(), workload)));
    }

    /// Forgets a workload; its addresses.
    pub(super) fn remove(&self, workload: WorkloadId) -> Vec<IpAddr> {
        let mut book = self.0.write().unwrap_or_else(PoisonError::into_inner);
        book.extract_if(|_, owner| *owner == workload).map(|(address, _)| address).collect()
    }
}
