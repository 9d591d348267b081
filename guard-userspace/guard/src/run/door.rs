//! The command's way in: who made a connection says the kernel, and nobody but the command is let in.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use guard_kernel::sockets::Diagnostics;
use guard_proxy::{DrainSignal, Handle, Proxy};
use guard_run::Place;
use guard_telemetry::Metrics;
use guard_workload::cgroup_ids;
use tokio::net::{TcpListener, TcpStream};

/// Pause after a failed accept, or one too many.
const PAUSE: Duration = Duration::from_millis(10);

/// Accepts, and asks who it was.
pub(super) struct Door {
    pub(super) proxy: Arc<Proxy>,
    pub(super) handle: Arc<Handle>,
    pub(super) drain: DrainSignal,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cgroup: PathBuf,
    pub(super) diagnostics: Diagnostics,
}

/// The listeners and their port: inside the command's network, or at a free port of the host's loopback. Call it in a runtime.
pub(super) fn listeners(place: &Place) -> Result<(Vec<TcpListener>, u16)> {
    let (sockets, port) = if place.network.is_some() {
        let opened = super::open_listeners(place)?;
        (std::iter::once(opened.v4).chain(opened.v6).collect(), opened.port)
    } else {
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on 127.0.0.1")?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        (vec![socket], port)
    };
    let registered = sockets.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>();
    Ok((registered.context("registering the listener")?, port))
}

impl Door {
    /// Accepts until dropped.
    pub(super) async fn run(self, listeners: Vec<TcpListener>) {
        let mut known = HashSet::new();
        loop {
            let accepts = listeners.iter().map(|listener| Box::pin(listener.accept()));
            let (accepted, ..) = futures::future::select_all(accepts).await;
            match accepted {
                Ok((tcp, peer)) if self.admits(&tcp, peer, &mut known) => {
                    let full = self.handle.is_full();
                    let (proxy, handle, drain) =
                        (Arc::clone(&self.proxy), Arc::clone(&self.handle), self.drain.clone());
                    tokio::spawn(async move { proxy.serve(tcp, handle, drain).await });
                    if full {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                // A reset: whoever it is shall not wait for an answer.
                Ok((tcp, _)) => drop(tcp.set_zero_linger()),
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn admits(&self, tcp: &TcpStream, peer: SocketAddr, known: &mut HashSet<u64>) -> bool {
        let owner = tcp
            .local_addr()
            .map_err(|error| error.to_string())
            .and_then(|local| self.diagnostics.owner_cgroup(peer, local).map_err(|error| error.to_string()));
        let refused = match owner {
            Ok(Some(cgroup)) => {
                if !known.contains(&cgroup) {
                    *known = cgroup_ids(&self.cgroup);
                }
                if known.contains(&cgroup) {
                    return true;
                }
                format!("its socket was made in cgroup {cgroup}, outside the run")
            }
            Ok(None) => "its socket is gone, or of another network".to_owned(),
            Err(error) => error,
        };
        self.metrics.connections_total.with_label_values(&["foreign"]).inc();
        tracing::warn!(%peer, refused, "a connection from outside the run was refused");
        false
    }
}
