//! All agent pods of one node: from the API server's view of the node to one keeper per pod.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use guard_identity::PodUid;
use guard_kernel::netns::Netns;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::changes::Watcher;
use crate::keeper::{Announce, Keeper, Surroundings, Wanted};
use crate::lifecycle::Enforcement;
use crate::pod::PodRecord;
use crate::pod_cgroup::CgroupTree;
use crate::processes;

/// How often is looked whether a pod that no object exists for has ended.
const POLL: Duration = Duration::from_secs(1);

/// The agent pods of one node.
pub struct Agents<E: Enforcement> {
    node: Arc<Surroundings<E>>,
    /// Pods that an earlier run has left in the kernel and whose objects were not seen yet.
    enrolled: HashSet<PodUid>,
    pods: HashMap<PodUid, Known>,
    /// Pods named since the watch began anew.
    listed: HashSet<PodUid>,
    keepers: JoinSet<PodUid>,
}

/// A pod of the node, by the uid that the node knows it by.
struct Known {
    /// The object's own uid. Another object that claims the same place on the node is refused.
    object: PodUid,
    /// To its keeper, if it is an agent.
    keeper: Option<watch::Sender<Wanted>>,
}

impl<E: Enforcement> Agents<E> {
    /// No pods yet. Called on the runtime that everything about them then runs on, which has several threads.
    ///
    /// `enrolled` names those that an earlier run left in the kernel; `netns` is the node's own namespace, where the veth pairs
    /// of pods end and which is never guarded.
    pub fn new(
        cgroups: CgroupTree,
        netns: Arc<Netns>,
        enforcement: Arc<E>,
        announce: Arc<dyn Announce>,
        enrolled: impl IntoIterator<Item = PodUid>,
    ) -> Result<Self, guard_kernel::Error> {
        let netns_id = netns.identity()?;
        Ok(Self {
            node: Arc::new(Surroundings { cgroups, netns, netns_id, watcher: Watcher::new(), enforcement, announce }),
            enrolled: enrolled.into_iter().collect(),
            pods: HashMap::new(),
            listed: HashSet::new(),
            keepers: JoinSet::new(),
        })
    }

    /// Follows the pods of this node until dropped, which leaves the kernel's part of the guard in place.
    ///
    /// `synced` is called each time the API server has named them all.
    pub async fn run(self, client: Client, node: &str, synced: impl FnMut()) {
        let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
        let pods = watcher(Api::<Pod>::all(client), config).default_backoff();
        self.follow(pods, synced).await;
    }

    async fn follow(
        mut self,
        pods: impl Stream<Item = watcher::Result<watcher::Event<Pod>>>,
        mut synced: impl FnMut(),
    ) {
        let mut pods = std::pin::pin!(pods);
        loop {
            tokio::select! {
                event = pods.next() => match event {
                    Some(Ok(event)) => {
                        let done = matches!(event, watcher::Event::InitDone);
                        self.apply(event);
                        if done {
                            synced();
                        }
                    }
                    Some(Err(error)) => tracing::warn!(%error, "watching the pods of this node failed; the watch goes on by itself"),
                    None => return,
                },
                Some(ended) = self.keepers.join_next() => match ended {
                    Ok(uid) => self.ended(&uid),
                    Err(error) => tracing::error!(%error, "the keeper of a pod has failed; the pod stays closed"),
                },
            }
        }
    }

    fn apply(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(pod) | watcher::Event::Apply(pod) => match PodRecord::from_object(&pod) {
                Ok(record) => self.upsert(record),
                Err(error) => {
                    tracing::warn!(name = ?pod.metadata.name, %error, "a pod of this node can't be understood");
                }
            },
            watcher::Event::Delete(pod) => match PodRecord::from_object(&pod) {
                Ok(record) => self.deleted(&record.node_uid, &record.identity.uid),
                Err(error) => tracing::warn!(name = ?pod.metadata.name, %error, "a deleted pod can't be understood"),
            },
            watcher::Event::InitDone => self.all_listed(),
        }
    }

    fn upsert(&mut self, pod: PodRecord) {
        let uid = pod.node_uid.clone();
        let known =
            self.pods.entry(uid.clone()).or_insert_with(|| Known { object: pod.identity.uid.clone(), keeper: None });
        if known.object != pod.identity.uid {
            tracing::warn!(pod = %pod.identity, other = %known.object, "the pod claims the place of another on this node and is ignored");
            return;
        }
        self.listed.insert(uid.clone());
        match &known.keeper {
            Some(keeper) => {
                keeper.send_replace(Wanted { pod, deleted: false });
            }
            None if self.enrolled.remove(&uid) || (pod.class.is_some() && !pod.ended) => {
                let (sender, receiver) = watch::channel(Wanted { pod, deleted: false });
                known.keeper = Some(sender);
                let keeper = Keeper::new(Arc::clone(&self.node), receiver);
                self.keepers.spawn(async move {
                    keeper.run().await;
                    uid
                });
            }
            None => {}
        }
    }

    fn deleted(&mut self, uid: &PodUid, object: &PodUid) {
        let Some(known) = self.pods.get(uid).filter(|known| known.object == *object) else { return };
        match &known.keeper {
            Some(keeper) => keeper.send_modify(|wanted| wanted.deleted = true),
            None => {
                self.pods.remove(uid);
            }
        }
    }

    /// What was not named is gone, and what an earlier run left behind belongs to nobody.
    fn all_listed(&mut self) {
        let gone: Vec<_> = self
            .pods
            .iter()
            .filter(|(uid, _)| !self.listed.contains(*uid))
            .map(|(uid, known)| (uid.clone(), known.object.clone()))
            .collect();
        for (uid, object) in gone {
            self.deleted(&uid, &object);
        }
        for uid in self.enrolled.drain() {
            tracing::info!(%uid, "enrolled by an earlier run, and no such pod any more");
            self.keepers.spawn(release_when_empty(Arc::clone(&self.node), uid));
        }
    }

    /// A keeper has released its pod.
    fn ended(&mut self, uid: &PodUid) {
        let deleted = |known: &Known| known.keeper.as_ref().is_none_or(|keeper| keeper.borrow().deleted);
        if self.pods.get(uid).is_some_and(deleted) {
            self.pods.remove(uid);
        } else if let Some(known) = self.pods.get_mut(uid) {
            // Ended, but the object is still there: were it to come back to life, its next change would find it without a keeper.
            known.keeper = None;
        }
    }
}

/// The object is gone; its last processes may not be.
async fn release_when_empty<E: Enforcement>(node: Arc<Surroundings<E>>, uid: PodUid) -> PodUid {
    loop {
        let populated = node.cgroups.find(&uid, None).is_some_and(|cgroup| !processes::is_empty(&cgroup.path));
        if !populated {
            match node.enforcement.release(&uid) {
                Ok(()) => return uid,
                Err(error) => tracing::warn!(%uid, %error, "releasing a pod that is gone failed; tried again"),
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests;
