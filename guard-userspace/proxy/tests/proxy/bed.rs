//! The test bed: a client and an API server that tests control, with a proxy between them.

mod body;
mod client;
pub(crate) mod frames;
mod identity;
mod lines;
mod network;
mod proxy;
mod raw_api;
mod server;

pub(crate) use body::{Piece, TestBody, empty, full, stream};
pub(crate) use client::{Client, ClientOptions, ends_clean, get, raw_tls, request, text};
pub(crate) use identity::{AGENT_TOKEN, Credentials, Recorder, Verifier, workload};
pub(crate) use lines::Lines;
pub(crate) use network::{enter_own_network, lose_packets};
pub(crate) use proxy::{Bed, BedOptions};
pub(crate) use raw_api::{RawApi, STATUS_200, goaway};
pub(crate) use server::{Api, ApiOptions, Handler, certify, handler, ok, status};

use std::time::Duration;

/// ALPN names.
pub(crate) const H2: &[u8] = b"h2";
/// ALPN names.
pub(crate) const HTTP11: &[u8] = b"http/1.1";

/// Bounds every wait of a test: what takes this long never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The future's result; panics with `what` if it does not come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("{what}: nothing in {PATIENCE:?}"))
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
