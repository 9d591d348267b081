//! Metrics, served as long as this guard is the node's: in an upgrade the next one has the same address.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use guard_telemetry::{Metrics, Readiness, ServeError, serve};
use tokio::task::AbortHandle;

/// How often an address that is taken is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Serves in a task of its own. Where the guard before this one still has the address, as soon as it has left.
pub(super) async fn start(
    address: SocketAddr,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Result<AbortHandle, ServeError> {
    let (registry, readiness) = (metrics.registry().clone(), readiness.clone());
    let first = match serve(address, registry.clone(), readiness.clone()).await {
        Ok((address, serving)) => {
            tracing::info!(%address, "metrics");
            Some(serving)
        }
        Err(error) if is_taken(&error) => {
            tracing::warn!(%error, "metrics wait for their address; the guard before this one may still be there");
            None
        }
        Err(error) => return Err(error),
    };
    let task = tokio::spawn(async move {
        if let Some(serving) = first {
            match serving.await {}
        }
        loop {
            tokio::time::sleep(RETRY).await;
            if let Ok((address, serving)) = serve(address, registry.clone(), readiness.clone()).await {
                tracing::info!(%address, "metrics");
                match serving.await {}
            }
        }
    });
    Ok(task.abort_handle())
}

fn is_taken(error: &ServeError) -> bool {
    matches!(error, ServeError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn the_next_guard_serves_once_the_one_before_has_left() {
        let (metrics, readiness) = (Metrics::new().unwrap(), Readiness::default());
        let before = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = before.local_addr().unwrap();
        start(address, &metrics, &readiness).await.unwrap();
        drop(before);
        for _ in 0..100 {
            if TcpStream::connect(address).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody serves metrics");
    }

    #[tokio::test]
    async fn an_address_that_is_not_of_this_machine_is_an_error() {
        let (metrics, readiness) = (Metrics::new().unwrap(), Readiness::default());
        assert!(start("192.0.2.1:9464".parse().unwrap(), &metrics, &readiness).await.is_err());
    }
}
