//! Watches one pod on the node, from before its first process to after its last, and moves its [`Lifecycle`] along.

use std::sync::Arc;
use std::time::Duration;

use guard_identity::PodIdentity;
use guard_kernel::netns::{Netns, NetnsId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::changes::{Changes, Watcher};
use crate::lifecycle::{Enforcement, Lifecycle, Notice, Stage};
use crate::network::{self, Findings, Refusal};
use crate::pod::PodRecord;
use crate::pod_cgroup::{CgroupTree, PodCgroup};
use crate::processes::{self, Placed};

/// How often is looked for what inotify did not tell.
const POLL: Duration = Duration::from_secs(1);

/// How often a sandbox is looked for once the pod has processes.
const STARTING: Duration = Duration::from_millis(25);

/// How long a pod that the API server has forgotten may still get a cgroup, or a process in the one that it has: the kubelet may have been
/// in the middle of starting it.
pub(crate) const LINGER: Duration = Duration::from_secs(30);

/// Longest pause between two attempts at a step that fails.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Tells people about a pod.
pub trait Announce: Send + Sync + 'static {
    /// Called once per change; must not block.
    fn announce(&self, pod: &PodIdentity, notice: &Notice);
}

/// What the API server says of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) pod: PodRecord,
    /// The object is gone.
    pub(crate) deleted: bool,
    /// It never was an agent: another object had claimed its place.
    pub(crate) withdrawn: bool,
}

impl Wanted {
    /// An agent that is there.
    pub(crate) fn of(pod: PodRecord) -> Self {
        Self { pod, deleted: false, withdrawn: false }
    }
}

/// What all keepers of a node share.
pub(crate) struct Surroundings<E> {
    pub(crate) cgroups: CgroupTree,
    /// The network namespace of the node, in which the guard runs. It is never guarded.
    pub(crate) netns: Arc<Netns>,
    pub(crate) netns_id: NetnsId,
    pub(crate) watcher: Arc<Watcher>,
    pub(crate) enforcement: Arc<E>,
    pub(crate) announce: Arc<dyn Announce>,
}

/// Keeps one pod.
pub(crate) struct Keeper<E: Enforcement> {
    node: Arc<Surroundings<E>>,
    wanted: watch::Receiver<Wanted>,
    lifecycle: Lifecycle<E>,
    changes: Changes,
    sandbox: Option<Placed>,
    backoff: Option<Backoff>,
    announced: Option<Notice>,
}

/// A step failed: when it is tried again.
#[derive(Clone, Copy)]
struct Backoff {
    pause: Duration,
    until: Instant,
}

impl<E: Enforcement> Keeper<E> {
    pub(crate) fn new(node: Arc<Surroundings<E>>, wanted: watch::Receiver<Wanted>) -> Self {
        let pod = wanted.borrow().pod.clone();
        let changes = node.watcher.changes();
        let lifecycle = Lifecycle::new(Arc::clone(&node.enforcement), pod);
        Self { node, wanted, lifecycle, changes, sandbox: None, backoff: None, announced: None }
    }

    /// Returns when the pod is released. Dropping this before leaves the kernel's part of the guard in place.
    pub(crate) async fn run(mut self) {
        while let Some(cgroup) = self.wait_for_cgroup().await {
            self.keep(&cgroup).await;
            if self.is_deleted() || self.is_withdrawn() {
                break;
            }
            self.release().await;
        }
        // Also where no cgroup was found: an earlier run may have left something.
        if !matches!(self.lifecycle.stage(), Stage::Released) {
            self.release().await;
        }
    }

    /// The pod's cgroup, as soon as it is there; nothing if it won't come any more.
    async fn wait_for_cgroup(&mut self) -> Option<PodCgroup> {
        self.changes = self.node.watcher.changes();
        let mut leave = None;
        loop {
            for parent in self.node.cgroups.parents() {
                self.changes.watch(&parent);
            }
            if self.is_withdrawn() {
                return None;
            }
            self.refresh();
            let pod = self.lifecycle.pod();
            // Looked for after the watch was set, so that none is missed between the two.
            if let Some(cgroup) = self.node.cgroups.find(&pod.node_uid, pod.qos) {
                return Some(cgroup);
            }
            if self.is_over() && *leave.get_or_insert_with(|| Instant::now() + LINGER) <= Instant::now() {
                return None;
            }
            self.pause(POLL).await;
        }
    }

    /// Guards the pod for as long as this cgroup is there and has, or may yet have, processes: whoever deletes a pod by force does so while
    /// the kubelet is starting it.
    async fn keep(&mut self, cgroup: &PodCgroup) {
        self.changes = self.node.watcher.changes();
        self.changes.watch(&cgroup.path);
        self.changes.watch(&cgroup.path.join("cgroup.events"));
        let mut leave = None;
        while cgroup.exists() && !self.is_withdrawn() {
            if !self.is_deleted() || !processes::is_empty(&cgroup.path) {
                leave = None;
            } else if *leave.get_or_insert_with(|| Instant::now() + LINGER) <= Instant::now() {
                break;
            }
            self.refresh();
            if self.backoff.is_none_or(|backoff| backoff.until <= Instant::now()) {
                // System calls of some milliseconds, which shall not hold up the connections of others.
                let result = tokio::task::block_in_place(|| self.advance(cgroup));
                self.told(result);
            }
            let starting = self.sandbox.is_none() && !processes::is_empty(&cgroup.path);
            self.pause(if starting { STARTING } else { POLL }).await;
        }
    }

    /// One look at the pod, and the step that follows from it.
    fn advance(&mut self, cgroup: &PodCgroup) -> Result<Option<Notice>, String> {
        // Whoever may label pods could otherwise end the guard, and with it every agent's access.
        if matches!(self.lifecycle.stage(), Stage::Known) && processes::is_own(&cgroup.path) {
            return Ok(Some(Notice::Refused(Refusal::Guard)));
        }
        if let Some(notice) = self.lifecycle.cgroup_found(cgroup).map_err(|error| describe(&error))? {
            return Ok(Some(notice));
        }
        self.sandbox = self
            .sandbox
            .filter(|known| known.process.netns() == Some(known.netns))
            .or_else(|| processes::sandbox(&cgroup.path, self.node.netns_id));
        let Some(sandbox) = self.sandbox else { return Ok(None) };
        if self.lifecycle.is_settled(sandbox.netns) {
            return Ok(None);
        }
        let pod = &self.lifecycle.pod().node_uid;
        match network::examine(cgroup, sandbox, pod, &self.node.netns).map_err(|error| describe(&error))? {
            Findings::Unfinished => {
                self.sandbox = None;
                Ok(None)
            }
            Findings::Refused(refusal) => Ok(self.lifecycle.network_refused(sandbox.netns, refusal)),
            Findings::Ready(network) => {
                self.lifecycle.network_found(cgroup, &network).map_err(|error| describe(&error))
            }
        }
    }

    /// Tries until nothing is left: what stays in the kernel could one day stand for somebody else.
    async fn release(&mut self) {
        self.sandbox = None;
        self.backoff = None;
        while let Err(error) = tokio::task::block_in_place(|| self.lifecycle.release()) {
            self.told(Err(describe(&error)));
            let until = self.backoff.map_or_else(Instant::now, |backoff| backoff.until);
            tokio::time::sleep_until(until).await;
        }
        self.backoff = None;
        tracing::info!(pod = %self.lifecycle.pod().identity, uid = %self.lifecycle.pod().identity.uid, "released");
    }

    /// Announces what is new, and slows down what fails.
    fn told(&mut self, result: Result<Option<Notice>, String>) {
        let notice = match result {
            Ok(notice) => {
                self.backoff = None;
                notice
            }
            Err(error) => {
                let pause = self.backoff.map_or(STARTING, |backoff| (backoff.pause * 2).min(MAX_BACKOFF));
                self.backoff = Some(Backoff { pause, until: Instant::now() + pause });
                Some(Notice::Failed { error })
            }
        };
        let Some(notice) = notice.filter(|notice| self.announced.as_ref() != Some(notice)) else { return };
        let pod = &self.lifecycle.pod().identity;
        if notice.is_warning() {
            tracing::warn!(%pod, uid = %pod.uid, reason = notice.reason(), message = notice.message(), "agent pod");
        } else {
            tracing::info!(%pod, uid = %pod.uid, reason = notice.reason(), "agent pod");
        }
        self.node.announce.announce(pod, &notice);
        self.announced = Some(notice);
    }

    fn refresh(&mut self) {
        let pod = self.wanted.borrow_and_update().pod.clone();
        self.lifecycle.update(pod);
    }

    fn is_deleted(&self) -> bool {
        self.wanted.borrow().deleted
    }

    fn is_withdrawn(&self) -> bool {
        self.wanted.borrow().withdrawn
    }

    /// The pod is deleted, or its end is announced: no cgroup of it is expected.
    fn is_over(&self) -> bool {
        let wanted = self.wanted.borrow();
        wanted.deleted || wanted.pod.ended
    }

    /// Until something changes: on the node, in the API, or by the clock.
    async fn pause(&mut self, poll: Duration) {
        let wanted = async {
            if self.wanted.changed().await.is_err() {
                // The other end lives as long as this task is wanted; without it the poll alone goes on.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.changes.next(poll) => {}
            () = wanted => {}
        }
    }
}

/// An error with its causes, in one line.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}
