//! The listeners inside pods: who accepted a connection says whose it is, and the kernel says who made it.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use guard_identity::{UpstreamToken, Workload};
use guard_kernel::Error;
use guard_kernel::listener::Listeners;
use guard_kernel::sockets::Diagnostics;
use guard_proxy::{DrainSignal, Handle, Proxy};
use guard_telemetry::Metrics;
use guard_workload::{PodCgroup, cgroup_ids};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::events::{Events, Note};
use super::registry::Registry;

/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Pause after a connection that was one too many: whoever floods shall not keep the guard busy with closing.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Opens doors; what all of them share.
pub(super) struct Doors {
    pub(super) proxy: Arc<Proxy>,
    pub(super) kubelet_root: PathBuf,
    pub(super) drain: DrainSignal,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
    pub(super) registry: Arc<Registry>,
    /// Everything that serves. Empty when the guard may go.
    pub(super) serving: TaskTracker,
}

/// A pod's listener. Dropped, it closes and cuts what it has accepted; in a drain, what was accepted goes on.
pub(super) struct Door {
    _close: DropGuard,
}

/// The processes of one pod, as the sockets that they make show them.
struct Peers {
    cgroup: PathBuf,
    diagnostics: Diagnostics,
    known: Mutex<HashSet<u64>>,
}

/// One pod's accepting side.
struct Accepting {
    doors: Arc<Doors>,
    handle: Arc<Handle>,
    peers: Peers,
    closed: CancellationToken,
}

impl Doors {
    /// Starts to accept on both listeners.
    pub(super) fn open(
        self: &Arc<Self>,
        workload: Arc<Workload>,
        cgroup: &PodCgroup,
        listeners: Listeners,
        diagnostics: Diagnostics,
    ) -> Result<Door, Error> {
        let register = |listener: std::net::TcpListener| {
            TcpListener::from_std(listener).map_err(|error| {
                Error::syscall("epoll_ctl", "registering a pod's listener", "too many open files?", error)
            })
        };
        let v4 = register(listeners.v4)?;
        let v6 = listeners.v6.map(register).transpose()?;
        let credentials = UpstreamToken::new(&self.kubelet_root, &workload.pod.uid);
        let closed = CancellationToken::new();
        let accepting = Accepting {
            doors: Arc::clone(self),
            handle: self.proxy.handle(workload, Arc::new(credentials)),
            peers: Peers { cgroup: cgroup.path.clone(), diagnostics, known: Mutex::default() },
            closed: closed.clone(),
        };
        self.serving.spawn(accepting.run(v4, v6));
        Ok(Door { _close: closed.drop_guard() })
    }
}

impl Accepting {
    async fn run(self, v4: TcpListener, v6: Option<TcpListener>) {
        let id = self.handle.workload().id;
        self.doors.metrics.agents.inc();
        self.doors.registry.count_door(id, true);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = self.closed.cancelled() => break,
                _ = self.doors.drain.started() => break,
                Some(_) = connections.join_next() => {}
                accepted = accept(&v4, v6.as_ref()) => match accepted {
                    Ok((tcp, peer)) if self.admits(&tcp, peer) => {
                        let full = self.handle.is_full();
                        let (proxy, handle) = (Arc::clone(&self.doors.proxy), Arc::clone(&self.handle));
                        let drain = self.doors.drain.clone();
                        connections.spawn(async move { proxy.serve(tcp, handle, drain).await });
                        if full {
                            tokio::time::sleep(FULL_PAUSE).await;
                        }
                    }
                    // A reset: whoever it is shall not wait for an answer.
                    Ok((tcp, _)) => drop(tcp.set_zero_linger()),
                    Err(error) => {
                        tracing::warn!(pod = %self.handle.workload().pod, %error, "accepting a connection failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop((v4, v6));
        self.doors.registry.count_door(id, false);
        // In a drain the connections see the same signal and end by themselves; the pod's end cuts them.
        tokio::select! {
            () = self.closed.cancelled() => {}
            () = async { while connections.join_next().await.is_some() {} } => {}
        }
        self.doors.metrics.agents.dec();
    }

    /// The other end was made by a process of the pod. Who else gets here (`kubectl port-forward`, a process of the node) has no identity.
    fn admits(&self, tcp: &TcpStream, peer: SocketAddr) -> bool {
        let workload = self.handle.workload();
        let owner = tcp
            .local_addr()
            .map_err(|error| error.to_string())
            .and_then(|local| self.peers.diagnostics.owner_cgroup(peer, local).map_err(|error| error.to_string()));
        let refused = match owner {
            Ok(Some(cgroup)) if self.peers.contains(cgroup) => return true,
            Ok(Some(cgroup)) => format!("its socket was made in cgroup {cgroup}, outside the pod"),
            Ok(None) => "its socket is gone, or not in the pod's network".to_owned(),
            Err(error) => error,
        };
        self.doors.metrics.connections_total.with_label_values(&["foreign"]).inc();
        tracing::warn!(pod = %workload.pod, uid = %workload.pod.uid, %peer, refused, "a connection from outside the pod was refused");
        self.doors.events.note(&workload.pod, Note::warning(
            "ForeignConnection",
            "A connection to the guard's listener in this pod did not come from a process of this pod (kubectl port-forward, or a process of the \
             node) and was refused. Call the API server from inside the pod, or with credentials of your own.",
        ));
        false
    }
}

impl Peers {
    fn contains(&self, cgroup: u64) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&cgroup) {
            *known = cgroup_ids(&self.cgroup);
        }
        known.contains(&cgroup)
    }
}

async fn accept(v4: &TcpListener, v6: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match v6 {
        None => v4.accept().await,
        Some(v6) => tokio::select! {
            accepted = v4.accept() => accepted,
            accepted = v6.accept() => accepted,
        },
    }
}
